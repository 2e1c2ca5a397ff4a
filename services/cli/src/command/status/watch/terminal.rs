//! The terminal: another screen while it is used, keys as they are typed, and all as it was afterwards.

use std::io;
use std::time::Duration;

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::queue;
use crossterm::style::{Attribute, Print, SetAttribute};
use crossterm::terminal::{
    self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode,
};
use tokio::sync::mpsc;
use zeroshare_chassis::Lifetime;

use super::board::{Key, Line, Size};
use crate::failure::Failure;
use crate::render::Output;

/// How long it takes at most until whoever waits for keys sees that nobody wants them.
const KEY_WAIT: Duration = Duration::from_millis(100);

/// Keys that wait: more are typed by nobody who looks.
const MOST_INPUTS: usize = 16;

/// Where the size is not known.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// What the terminal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Key(Key),
    Resized,
}

/// A terminal that gives each key at once; it is as it was before when this is dropped.
#[derive(Debug)]
pub(super) struct Terminal<'a> {
    output: &'a Output,
}

impl<'a> Terminal<'a> {
    /// Takes the terminal over. Inputs end with it, and when nobody types any more.
    pub(super) fn enter(
        output: &'a Output,
        lifetime: &Lifetime,
    ) -> Result<(Self, mpsc::Receiver<Input>), Failure> {
        enable_raw_mode().map_err(|error| Failure::because("cannot read keys", &error))?;
        let entered = Self { output };
        entered.put(|bytes| queue!(bytes, EnterAlternateScreen, Hide))?;
        let (sender, inputs) = mpsc::channel(MOST_INPUTS);
        drop(lifetime.spawn_blocking("keys", move || read_inputs(&sender)));
        Ok((entered, inputs))
    }

    pub(super) fn size() -> Size {
        let known = terminal::size().ok();
        let known = known.filter(|(columns, rows)| *columns > 0 && *rows > 0);
        let (columns, rows) = known.unwrap_or(USUAL_SIZE);
        Size {
            columns: columns.into(),
            rows: rows.into(),
        }
    }

    /// Shows these lines, and nothing else.
    pub(super) fn draw(&self, lines: &[Line]) -> Result<(), Failure> {
        self.put(|bytes| {
            // All in one write, so that it does not flicker.
            queue!(bytes, MoveTo(0, 0), Clear(ClearType::FromCursorDown))?;
            for (row, line) in (0..).zip(lines) {
                queue!(bytes, MoveTo(0, row))?;
                if line.is_selected {
                    queue!(bytes, SetAttribute(Attribute::Reverse))?;
                }
                queue!(bytes, Print(&line.text), SetAttribute(Attribute::Reset))?;
            }
            Ok(())
        })
    }

    fn put(&self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        write(&mut bytes).map_err(|error| Failure::because("cannot draw", &error))?;
        self.output.put_bytes(&bytes)
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _left = self.put(|bytes| queue!(bytes, Show, LeaveAlternateScreen));
        let _restored = disable_raw_mode();
    }
}

/// Reads until nobody listens, or the terminal is gone.
fn read_inputs(inputs: &mpsc::Sender<Input>) {
    while !inputs.is_closed() {
        let event = match event::poll(KEY_WAIT) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let Ok(event) = event else { return };
        if let Some(input) = input_of(&event)
            && inputs.blocking_send(input).is_err()
        {
            return;
        }
    }
}

fn input_of(event: &Event) -> Option<Input> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => Some(Input::Key(key_of(key))),
        Event::Resize(_, _) => Some(Input::Resized),
        Event::Key(_) | Event::FocusGained | Event::FocusLost | Event::Mouse(_) => None,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of a keyboard's keys these matter"
)]
fn key_of(event: &KeyEvent) -> Key {
    let is_control = event.modifiers.contains(KeyModifiers::CONTROL);
    match event.code {
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        // Raw terminals send no signal.
        KeyCode::Char('c' | 'd') if is_control => Key::Interrupt,
        KeyCode::Char(letter) if !is_control => Key::Letter(letter),
        _ => Key::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_what_they_mean() {
        let key = |code, modifiers| input_of(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = KeyModifiers::NONE;
        for (code, modifiers, meant) in [
            (KeyCode::Up, plain, Key::Up),
            (KeyCode::Char('c'), plain, Key::Letter('c')),
            (KeyCode::Char('Y'), KeyModifiers::SHIFT, Key::Letter('Y')),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, Key::Interrupt),
            (KeyCode::Char('y'), KeyModifiers::CONTROL, Key::Other),
            (KeyCode::Esc, plain, Key::Other),
        ] {
            assert_eq!(key(code, modifiers), Some(Input::Key(meant)), "{code:?}");
        }
        assert_eq!(input_of(&Event::Resize(1, 2)), Some(Input::Resized));
        assert_eq!(input_of(&Event::FocusLost), None);
    }
}
