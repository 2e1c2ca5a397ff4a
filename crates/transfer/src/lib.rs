//! Which piece to read next, from whom, and when to give up.
