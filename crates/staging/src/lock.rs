use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after another thread panicked: everything kept under these locks is valid between any two statements.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
