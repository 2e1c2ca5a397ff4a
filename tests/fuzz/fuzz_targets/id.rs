//! See `zeroshare_fuzz::id`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| zeroshare_fuzz::id::check(bytes));
