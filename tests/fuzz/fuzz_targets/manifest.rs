//! See `zeroshare_fuzz::manifest`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| zeroshare_fuzz::manifest::check(bytes));
