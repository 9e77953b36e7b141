#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wulfpack_tests::fuzz::run("dhcp6_server", bytes));
