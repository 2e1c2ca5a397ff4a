//! See `zeroshare_fuzz::datagram`.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| zeroshare_fuzz::datagram::check(bytes));
