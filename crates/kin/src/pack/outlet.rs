//! The way out, and a gate before it.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;

use super::PackError;

/// Whether anything goes out any more, and why not.
///
/// Writers of archives put an end to what they wrote when they are dropped. Behind a shut gate that end is lost, so that
/// what failed does not look whole.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    is_shut: bool,
    why: Option<PackError>,
}

/// Where an archive goes.
pub(super) struct Outlet<'o> {
    out: &'o mut dyn Write,
    gate: Gate,
}

impl Gate {
    /// Lets nothing out any more; the first reason counts.
    pub(super) fn shut(&self, why: Option<PackError>) {
        let mut state = self.0.borrow_mut();
        if !state.is_shut {
            *state = State { is_shut: true, why };
        }
    }

    /// Why it was shut, once.
    pub(super) fn take(&self) -> Option<PackError> {
        self.0.borrow_mut().why.take()
    }

    fn is_shut(&self) -> bool {
        self.0.borrow().is_shut
    }
}

impl<'o> Outlet<'o> {
    pub(super) fn new(out: &'o mut dyn Write, gate: &Gate) -> Self {
        Self {
            out,
            gate: gate.clone(),
        }
    }
}

impl Write for Outlet<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.gate.is_shut()
            && let Err(error) = self.out.write_all(bytes)
        {
            self.gate.shut(Some(PackError::Write(error)));
            return Err(io::Error::other("nobody takes the archive"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
