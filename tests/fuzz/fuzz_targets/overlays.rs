#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wulfpack_tests::fuzz::run("overlays", bytes));
