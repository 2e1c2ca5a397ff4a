//! Who is there, who holds what, and when to speak.
