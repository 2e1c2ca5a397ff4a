//! Rules of the workspace that no compiler checks.
