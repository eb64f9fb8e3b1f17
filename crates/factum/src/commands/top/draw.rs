//! How the board of `factum top` looks.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Block, Cell, Paragraph, Row, StatefulWidget, Table, TableState, Widget as _,
};

use super::board::{Board, Event, Instance};
use crate::output::printable;

const HEAD: [&str; 8] = [
    "INSTANCE",
    "STATUS",
    "CONTEXT",
    "BEAT",
    "EV/S",
    "EVENTS",
    "LAST EVENT",
    "EPIC",
];
const KEYS: &str = "q quit  ↑↓ choose  enter events  s sort  r reverse  / filter  a active only";
/// From this share on the context is nearly full.
const FULL_PERCENT: f64 = 80.0;

/// Draws the board over a whole screen.
pub(crate) fn draw(board: &Board, frame: &mut Frame<'_>) {
    let area = frame.area();
    render(board, area, frame.buffer_mut());
}

/// Returns one frame as plain text, as high as it has to be.
pub(crate) fn text(board: &Board, width: u16) -> String {
    let n_rows = u16::try_from(board.rows().len()).unwrap_or(u16::MAX - 4);
    let area = Rect::new(0, 0, width.max(40), n_rows.min(u16::MAX - 4) + 3);
    let mut buffer = Buffer::empty(area);
    let [top, list] = Layout::vertical([Constraint::Length(2), Constraint::Min(1)]).areas(area);
    head(board, top, &mut buffer);
    table(board, list, &mut buffer);
    let mut text = String::new();
    for y in 0..area.height {
        let line: String = (0..area.width).map(|x| symbol(&buffer, x, y)).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn symbol(buffer: &Buffer, x: u16, y: u16) -> &str {
    buffer.cell((x, y)).map_or(" ", |cell| cell.symbol())
}

fn render(board: &Board, area: Rect, buffer: &mut Buffer) {
    let parts = [
        Constraint::Length(2),
        Constraint::Min(4),
        Constraint::Length(1),
    ];
    let [top, middle, foot] = Layout::vertical(parts).areas(area);
    head(board, top, buffer);
    if board.detail.is_some() {
        let halves = [Constraint::Percentage(50), Constraint::Percentage(50)];
        let [list, pane] = Layout::vertical(halves).areas(middle);
        table(board, list, buffer);
        detail(board, pane, buffer);
    } else {
        table(board, middle, buffer);
    }
    Paragraph::new(bottom(board)).render(foot, buffer);
}

fn head(board: &Board, area: Rect, buffer: &mut Buffer) {
    let list = &board.list;
    let closed = list
        .total_count
        .saturating_sub(list.active_count + list.stale_count);
    let rate = board
        .rate
        .map_or_else(String::new, |rate| format!("  {rate:.1} events/s"));
    let first = format!(
        "{}  {} active  {} stale  {closed} closed{rate}",
        board.server, list.active_count, list.stale_count
    );
    let order = if board.reversed { ", reversed" } else { "" };
    let mut second = vec![format!("by {}{order}", board.sort.name())];
    if board.active_only {
        second.push("active only".to_owned());
    }
    if !board.filter.is_empty() {
        second.push(format!("filter {}", printable(&board.filter)));
    }
    let shown = u64::try_from(list.instances.len()).unwrap_or(u64::MAX);
    let hidden = list.total_count.saturating_sub(shown) + list.not_listed_count;
    if hidden > 0 {
        second.push(format!("{hidden} older ones are not shown"));
    }
    let faint = Style::new().add_modifier(Modifier::DIM);
    let lines = vec![Line::from(first), Line::styled(second.join("  "), faint)];
    Paragraph::new(lines).render(area, buffer);
}

fn bottom(board: &Board) -> Line<'static> {
    if let Some(trouble) = &board.trouble {
        return Line::styled(printable(trouble), tone(board, Color::Red));
    }
    if board.typing {
        return Line::from(format!("filter: {}▏", printable(&board.filter)));
    }
    Line::styled(KEYS, Style::new().add_modifier(Modifier::DIM))
}

fn table(board: &Board, area: Rect, buffer: &mut Buffer) {
    let rows = board.rows();
    let id_width = rows.iter().map(|one| one.instance_id.chars().count()).max();
    let id_width = u16::try_from(id_width.unwrap_or(0)).unwrap_or(u16::MAX);
    let widths = [
        Constraint::Length(id_width.clamp(14, 36)),
        Constraint::Length(6),
        Constraint::Length(12),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Length(7),
        Constraint::Length(24),
        Constraint::Min(4),
    ];
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let mut state = TableState::new().with_selected(board.chosen_row(&rows));
    let table = Table::new(rows.iter().map(|one| row(board, one)), widths)
        .header(Row::new(HEAD).style(bold))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    StatefulWidget::render(table, area, buffer, &mut state);
}

fn row<'a>(board: &Board, one: &Instance) -> Row<'a> {
    let status = match one.status.as_str() {
        "active" => tone(board, Color::Green),
        "stale" => tone(board, Color::Yellow),
        _ => Style::new().add_modifier(Modifier::DIM),
    };
    let context = if one.context_percent >= FULL_PERCENT {
        tone(board, Color::Red)
    } else {
        Style::new()
    };
    let rate = board.rate_of(one);
    let mark = if one.last_checkpoint_id.is_some() {
        " ◆"
    } else {
        ""
    };
    let closed = one.status == "closed";
    let beat = if closed {
        "-".to_owned()
    } else {
        age(one.age_seconds)
    };
    Row::new([
        Cell::new(printable(&one.instance_id)),
        Cell::new(one.status.clone()).style(status),
        Cell::new(format!("{}{mark}", bar(one.context_percent))).style(context),
        Cell::new(beat),
        Cell::new(rate.map_or_else(String::new, |rate| format!("{rate:.1}"))),
        Cell::new(one.event_count.to_string()),
        Cell::new(printable(&one.last_event_type)),
        Cell::new(
            one.current_epic
                .as_deref()
                .map(printable)
                .unwrap_or_default(),
        ),
    ])
}

fn detail(board: &Board, area: Rect, buffer: &mut Buffer) {
    let Some((id, events)) = &board.detail else {
        return;
    };
    let one = board
        .list
        .instances
        .iter()
        .find(|one| one.instance_id == *id);
    let checkpoint = one
        .and_then(|one| one.last_checkpoint_id.as_deref())
        .map_or_else(String::new, |last| format!("  checkpoint {last}"));
    let title = format!(" {}{} ", printable(id), printable(&checkpoint));
    let lines: Vec<Line<'_>> = events.iter().map(|event| line(board, event)).collect();
    Paragraph::new(lines)
        .block(Block::bordered().title(title))
        .render(area, buffer);
}

fn line<'a>(board: &Board, event: &Event) -> Line<'a> {
    let faint = Style::new().add_modifier(Modifier::DIM);
    let time = event.timestamp.get(11..19).unwrap_or(&event.timestamp);
    let data: String = event.event_data.to_string().chars().take(200).collect();
    Line::from(vec![
        Span::styled(
            format!("{:>6} {} ", event.sequence_num, printable(time)),
            faint,
        ),
        Span::styled(printable(&event.event_type), tone(board, Color::Cyan)),
        Span::styled(format!(" {}", printable(&data)), faint),
    ])
}

/// Returns a colour where colours are wanted.
fn tone(board: &Board, colour: Color) -> Style {
    if board.colours {
        Style::new().fg(colour)
    } else {
        Style::new()
    }
}

/// Draws a share of a hundred: five places, and the number.
fn bar(percent: f64) -> String {
    let share = percent.clamp(0.0, 100.0);
    let full: String = (0..5)
        .map(|place| {
            if share >= 10.0 + 20.0 * f64::from(place) {
                '■'
            } else {
                '·'
            }
        })
        .collect();
    format!("{full} {share:>3.0}%")
}

/// Says how long ago something was, in at most four places.
fn age(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6000 => format!("{}m", seconds / 60),
        6000..360_000 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}
