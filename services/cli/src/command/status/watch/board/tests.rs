use prost_types::Timestamp;
use zeroshare_wire::pb::fetcher::v1::{FetchProgress, FetchState, PeerShare};

use super::*;

const SIZE: Size = Size {
    columns: 120,
    rows: 24,
};

/// A fetch that was started at this second.
fn fetch(second: i64, state: FetchState) -> Fetch {
    let mut fetch = Fetch {
        content_id: format!("id-{second}"),
        start_time: Some(Timestamp {
            seconds: second,
            nanos: 0,
        }),
        progress: Some(FetchProgress {
            done_bytes: 1024,
            total_bytes: 4096,
            peers: vec![PeerShare {
                address: "10.0.0.2:38339".to_owned(),
                received_bytes: 1024,
                bytes_per_second: 512,
                ..PeerShare::default()
            }],
            ..FetchProgress::default()
        }),
        user_ids: vec![1000],
        ..Fetch::default()
    };
    fetch.set_state(state);
    fetch
}

fn running(seconds: &[i64]) -> Vec<Fetch> {
    let states = seconds.iter();
    states
        .map(|second| fetch(*second, FetchState::Transferring))
        .collect()
}

fn board(now: Instant, fetches: Vec<Fetch>) -> Board {
    let users = Users::new("ann:x:1000:1000::/home/ann:/bin/sh\n".to_owned());
    let mut board = Board::new(users);
    board.handle_fetches(now, fetches);
    board
}

fn texts(board: &Board, size: Size) -> Vec<String> {
    let lines = board.screen(size).into_iter();
    lines.map(|line| line.text).collect()
}

/// The ids that are shown, with the selected one marked.
fn shown(board: &Board, size: Size) -> Vec<String> {
    let lines = board.screen(size).into_iter();
    let lines = lines.filter(|line| line.text.contains("id-"));
    lines
        .map(|line| {
            let id = line
                .text
                .split_whitespace()
                .find(|word| word.starts_with("id-"));
            assert_eq!(line.is_selected, line.text.starts_with('>'), "{line:?}");
            format!("{}{}", if line.is_selected { ">" } else { "" }, id.unwrap())
        })
        .collect()
}

#[test]
fn the_screen_tells_how_far_how_fast_from_whom_and_for_whom() {
    let board = board(Instant::now(), running(&[1]));
    assert_eq!(
        texts(&board, SIZE),
        [
            "1 transfer, 512 B/s",
            "   ID    NOW       DONE     OF       RATE     FROM            FOR",
            ">  id-1  fetching  1.0 KiB  4.0 KiB  512 B/s  10.0.0.2:38339  ann",
            "",
            "up/down select, c cancel, q quit",
        ]
    );
}

#[test]
fn without_transfers_it_says_so() {
    let mut board = board(Instant::now(), Vec::new());
    assert_eq!(texts(&board, SIZE)[0], "nothing is being fetched");
    for key in [
        Key::Up,
        Key::Down,
        Key::Letter('c'),
        Key::Letter('y'),
        Key::Other,
    ] {
        assert_eq!(board.handle_key(key), None);
    }
}

#[test]
fn the_selection_moves_within_the_list() {
    let mut board = board(Instant::now(), running(&[3, 2, 1]));
    assert_eq!(shown(&board, SIZE), [">id-1", "id-2", "id-3"]);
    for (key, selected) in [
        (Key::Up, 0),
        (Key::Down, 1),
        (Key::Letter('j'), 2),
        (Key::Down, 2),
        (Key::Letter('k'), 1),
    ] {
        assert_eq!(board.handle_key(key), None);
        assert_eq!(board.selected, selected, "{key:?}");
    }
}

#[test]
fn the_selection_stays_with_its_transfer() {
    let now = Instant::now();
    let mut board = board(now, running(&[5, 3]));
    board.handle_key(Key::Down);
    board.handle_fetches(now, running(&[7, 5, 4, 3]));
    assert_eq!(shown(&board, SIZE), ["id-3", "id-4", ">id-5", "id-7"]);
    board.handle_fetches(now, running(&[4, 3]));
    assert_eq!(shown(&board, SIZE), ["id-3", ">id-4"], "the nearest one");
    board.handle_fetches(now, Vec::new());
    assert_eq!(board.handle_key(Key::Letter('c')), None);
    assert_eq!(board.question, None);
}

#[test]
fn a_transfer_is_cancelled_after_a_yes_only() {
    let now = Instant::now();
    let fetches = running(&[2, 1]);
    let name = Name::of(&fetches[0]);
    let mut board = board(now, fetches);
    board.handle_key(Key::Down);
    for no in [Key::Letter('n'), Key::Letter('q'), Key::Other, Key::Up] {
        assert_eq!(board.handle_key(Key::Letter('c')), None);
        let footer = texts(&board, SIZE).pop().unwrap();
        assert_eq!(footer, "cancel id-2, for all who want it? y/n");
        assert_eq!(board.handle_key(no), None, "{no:?}");
        assert_eq!(board.handle_key(Key::Letter('y')), None, "asked no more");
    }
    board.handle_key(Key::Letter('c'));
    let action = board.handle_key(Key::Letter('y'));
    assert_eq!(action, Some(Action::Cancel(name)));
    board.handle_answer("cancelled".to_owned());
    assert_eq!(texts(&board, SIZE).pop().unwrap(), "cancelled");
    board.handle_key(Key::Up);
    assert!(texts(&board, SIZE).pop().unwrap().starts_with("up/down"));
}

#[test]
fn nothing_is_asked_about_a_transfer_that_ended() {
    let now = Instant::now();
    let mut board = board(now, running(&[1]));
    board.handle_key(Key::Letter('c'));
    board.handle_fetches(now, vec![fetch(1, FetchState::Succeeded)]);
    assert_eq!(board.handle_key(Key::Letter('y')), None);
    board.handle_key(Key::Letter('c'));
    assert_eq!(board.handle_key(Key::Letter('y')), None);
}

#[test]
fn the_end_of_a_transfer_can_be_seen_for_a_moment() {
    let start = Instant::now();
    let mut failed = fetch(1, FetchState::Failed);
    failed.failure_message = "nobody\nhas it\u{1b}[2J".to_owned();
    let mut board = board(start, running(&[1]));
    board.handle_fetches(start, vec![failed.clone(), fetch(0, FetchState::Failed)]);
    let lines = texts(&board, SIZE);
    assert_eq!(lines[0], "nothing is being fetched");
    assert!(lines[2].ends_with("nobody has it\\u{1b}[2J"), "{lines:?}");
    assert_eq!(lines.len(), 5, "what ended before is not shown: {lines:?}");
    board.handle_fetches(start + LINGER / 2, vec![failed.clone()]);
    assert_eq!(shown(&board, SIZE), [">id-1"]);
    board.handle_fetches(start + LINGER, vec![failed]);
    assert_eq!(shown(&board, SIZE), [""; 0]);
}

#[test]
fn q_and_ctrl_c_quit_the_latter_always() {
    let mut board = board(Instant::now(), running(&[1]));
    assert_eq!(board.handle_key(Key::Letter('q')), Some(Action::Quit));
    board.handle_key(Key::Letter('c'));
    assert_eq!(board.handle_key(Key::Interrupt), Some(Action::Quit));
}

#[test]
fn a_small_terminal_shows_the_selected_one_and_no_line_too_many() {
    let seconds: Vec<_> = (10..40).collect();
    let mut board = board(Instant::now(), running(&seconds));
    let small = Size {
        columns: 30,
        rows: 6,
    };
    assert_eq!(shown(&board, small), [">id-10", "id-11"]);
    for _ in 0..4 {
        board.handle_key(Key::Down);
    }
    assert_eq!(shown(&board, small), ["id-13", ">id-14"]);
    for rows in 0..8 {
        for columns in 0..50 {
            let lines = board.screen(Size { columns, rows });
            assert!(lines.len() <= rows);
            let is_fitting = |line: &Line| console::measure_text_width(&line.text) <= columns;
            assert!(columns == 0 || lines.iter().all(is_fitting), "{lines:?}");
        }
    }
}
