//! The terminal while `factum top` has it: raw, on its other screen, and given back however the
//! command ends.

use std::io::{self, Stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use tokio::sync::mpsc;

use super::board::{Board, Key};
use super::draw;

/// How many keys may wait to be looked at.
const KEYS_MAX: usize = 64;
/// How soon the reader of keys sees that nobody listens any more.
const LOOK: Duration = Duration::from_millis(100);

/// The terminal. Dropping it gives it back.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    taken: Arc<AtomicBool>,
}

/// What came from the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    Key(Key),
    /// It has another size.
    Resized,
}

impl Screen {
    /// Takes the terminal. A panic gives it back before it is told of.
    pub(crate) fn open() -> io::Result<Self> {
        let taken = Arc::new(AtomicBool::new(true));
        let (told, held) = (std::panic::take_hook(), Arc::clone(&taken));
        std::panic::set_hook(Box::new(move |panic| {
            give_back(&held);
            told(panic);
        }));
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        // Made before anything changes, so that a failure half way gives back too.
        let mut screen = Self { terminal, taken };
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        screen.terminal.clear()?;
        Ok(screen)
    }

    /// Draws a frame.
    pub(crate) fn draw(&mut self, board: &Board) -> io::Result<()> {
        self.terminal.draw(|frame| draw::draw(board, frame))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back(&self.taken);
    }
}

/// Gives the terminal back, once: a second time would put its cursor where it was before.
fn give_back(taken: &AtomicBool) {
    if !taken.swap(false, Ordering::SeqCst) {
        return;
    }
    // Nothing more can be done for a terminal that takes no orders.
    drop(disable_raw_mode());
    drop(execute!(io::stdout(), LeaveAlternateScreen, Show));
}

/// Returns the width of the terminal.
pub(crate) fn width() -> Option<u16> {
    size().ok().map(|(width, _)| width)
}

/// Reads what comes from the terminal, until nobody listens.
pub(crate) fn inputs() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    // It looks for the end of the channel by itself, and the runtime does not wait for it.
    drop(tokio::task::spawn_blocking(move || {
        while !sender.is_closed() {
            match event::poll(LOOK).and_then(|is_there| is_there.then(event::read).transpose()) {
                Ok(Some(event)) => {
                    if let Some(input) = input(&event)
                        && sender.blocking_send(input).is_err()
                    {
                        return;
                    }
                }
                Ok(None) => {}
                // A terminal that is gone ends the command: the channel closes.
                Err(_) => return,
            }
        }
    }));
    receiver
}

fn input(event: &Event) -> Option<Input> {
    match event {
        Event::Key(pressed) if pressed.kind != KeyEventKind::Release => {
            key(pressed).map(Input::Key)
        }
        Event::Resize(..) => Some(Input::Resized),
        Event::Key(_)
        | Event::FocusGained
        | Event::FocusLost
        | Event::Mouse(_)
        | Event::Paste(_) => None,
    }
}

fn key(pressed: &KeyEvent) -> Option<Key> {
    if pressed.modifiers.contains(KeyModifiers::CONTROL) {
        return (pressed.code == KeyCode::Char('c')).then_some(Key::Interrupt);
    }
    Some(match pressed.code {
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Char(character) => Key::Char(character),
        _ => return None,
    })
}
