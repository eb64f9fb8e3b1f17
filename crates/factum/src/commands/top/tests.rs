//! The board, key by key, and as it looks.

use std::time::Duration;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::{Color, Modifier};
use serde_json::json;

use super::board::{Act, Board, Event, Instances, Key};
use super::draw::{draw, text};

fn list(counts: [u64; 3]) -> Instances {
    let instance = |id: &str, status: &str, percent: f64, age: u64, count: u64| {
        json!({
            "instance_id": id, "status": status, "context_percent": percent, "age_seconds": age,
            "current_epic": format!("epic-{}", &id[..1]), "event_count": count,
            "last_event_type": "instance_heartbeat",
            "last_event_at": format!("2026-11-21T09:00:{:02}Z", 59 - age % 60),
            "last_checkpoint_id": (percent > 80.0).then_some("cp-1"), "project": "x",
        })
    };
    let [a, b, c] = counts;
    serde_json::from_value(json!({
        "instances": [
            instance("shop-PS-0a1b2c", "active", 42.4, 3, a),
            instance("bank-MS-ffffff", "stale", 95.0, 4000, b),
            instance("mail-PS-000000", "closed", 7.0, 90, c),
        ],
        "total_count": 3, "active_count": 1, "stale_count": 1, "not_listed_count": 2,
    }))
    .unwrap()
}

fn board() -> Board {
    let mut board = Board::new("http://127.0.0.1:7766".to_owned(), false);
    board.update(list([10, 20, 30]), None);
    board
}

fn ids(board: &Board) -> Vec<&str> {
    let rows = board.rows();
    rows.iter().map(|one| &one.instance_id[..4]).collect()
}

fn press(board: &mut Board, keys: &str) {
    for key in keys.chars() {
        board.press(Key::Char(key));
    }
}

#[test]
fn a_frame_as_text() {
    let mut board = board();
    board.update(list([15, 20, 30]), Some(Duration::from_secs(2)));
    let expected = "\
http://127.0.0.1:7766  1 active  1 stale  1 closed  2.5 events/s
by last event  2 older ones are not shown
INSTANCE       STATUS CONTEXT      BEAT  EV/S   EVENTS  LAST EVENT               EPIC
shop-PS-0a1b2c active ■■···  42%   3s    2.5    15      instance_heartbeat       epic-s
mail-PS-000000 closed ·····   7%   -     0.0    30      instance_heartbeat       epic-m
bank-MS-ffffff stale  ■■■■■  95% ◆ 66m   0.0    20      instance_heartbeat       epic-b
";
    assert_eq!(text(&board, 100), expected);
}

#[test]
fn rows_are_sorted_reversed_and_filtered() {
    let mut board = board();
    assert_eq!(ids(&board), ["shop", "mail", "bank"], "by their last event");
    for (name, expected) in [
        ("status", ["shop", "bank", "mail"]),
        ("context", ["bank", "shop", "mail"]),
        ("heartbeat", ["bank", "mail", "shop"]),
        ("events/s", ["bank", "mail", "shop"]),
        ("events", ["mail", "bank", "shop"]),
        ("instance", ["bank", "mail", "shop"]),
        ("last event", ["shop", "mail", "bank"]),
    ] {
        press(&mut board, "s");
        assert_eq!((board.sort.name(), ids(&board)), (name, expected.to_vec()));
    }
    press(&mut board, "r");
    assert_eq!(ids(&board), ["bank", "mail", "shop"]);
    press(&mut board, "ra");
    assert_eq!(ids(&board), ["shop"], "active only");
    press(&mut board, "a/PS-");
    assert_eq!(ids(&board), ["shop", "mail"]);
    board.press(Key::Backspace);
    press(&mut board, "-0a");
    assert_eq!(
        (board.filter.as_str(), ids(&board)),
        ("PS-0a", vec!["shop"])
    );
    board.press(Key::Enter);
    press(&mut board, "s");
    assert_eq!(board.sort.name(), "status", "typing has ended");
    assert_eq!(board.press(Key::Escape), Act::Draw, "the filter goes first");
    assert_eq!(ids(&board).len(), 3);
    assert_eq!(board.press(Key::Escape), Act::Quit);
}

#[test]
fn the_choice_stays_with_its_instance_and_opens_its_events() {
    let mut board = board();
    assert_eq!(board.press(Key::Down), Act::Draw);
    assert_eq!(board.press(Key::Down), Act::Draw);
    assert_eq!(board.chosen(), Some("mail-PS-000000"));
    press(&mut board, "sss");
    assert_eq!(board.chosen(), Some("mail-PS-000000"), "whatever the order");
    board.update(list([11, 21, 31]), Some(Duration::from_secs(1)));
    assert_eq!(board.press(Key::Enter), Act::Ask);
    let event: Event = serde_json::from_value(json!({
        "sequence_num": 31, "timestamp": "2026-11-21T09:00:01.000000Z",
        "event_type": "commit_created", "event_data": {"message": "a\u{1b}[2Jb"},
    }))
    .unwrap();
    board.take_events("another", vec![event.clone()]);
    assert!(board.detail.as_ref().unwrap().1.is_empty());
    board.take_events("mail-PS-000000", vec![event]);
    let frame = frame(&board);
    assert!(
        frame.contains("mail-PS-000000") && frame.contains("commit_created"),
        "{frame}"
    );
    assert!(
        !frame.contains('\u{1b}'),
        "what was recorded does not drive the terminal"
    );
    assert_eq!(
        board.press(Key::End),
        Act::Ask,
        "the pane follows the choice"
    );
    assert_eq!(board.press(Key::Escape), Act::Draw);
    assert!(board.detail.is_none());
    for key in [Key::Interrupt, Key::Char('q')] {
        assert_eq!(board.press(key), Act::Quit);
    }
}

fn terminal(board: &Board, width: u16, height: u16) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(board, frame)).unwrap();
    terminal
}

fn frame(board: &Board) -> String {
    terminal(board, 100, 20).backend().to_string()
}

#[test]
fn colours_only_where_they_are_wanted() {
    let colours = |board: &Board| {
        let terminal = terminal(board, 100, 20);
        let buffer = terminal.backend().buffer().clone();
        let cells = buffer.content().iter();
        cells.filter(|cell| cell.fg != Color::Reset).count()
    };
    let mut board = board();
    assert_eq!(colours(&board), 0);
    board.press(Key::Down);
    let terminal = terminal(&board, 100, 20);
    let buffer = terminal.backend().buffer();
    let chosen = buffer.cell((0, 3)).unwrap();
    assert!(
        chosen.modifier.contains(Modifier::REVERSED),
        "the choice is seen without colours"
    );
    board.colours = true;
    assert!(colours(&board) > 0);
}

#[test]
fn any_size_of_screen_will_do() {
    let mut board = board();
    board.trouble = Some("no answer".to_owned());
    assert!(frame(&board).contains("no answer"));
    board.press(Key::Enter);
    for (width, height) in [(1, 1), (10, 3), (40, 8), (300, 100)] {
        terminal(&board, width, height);
    }
    let empty = Board::new("x".to_owned(), false);
    assert!(text(&empty, 0).starts_with("x  0 active"));
}
