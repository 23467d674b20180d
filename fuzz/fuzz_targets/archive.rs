//! `lrl_testing::fuzz_bodies::archive` on whatever libFuzzer finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lrl_testing::fuzz_bodies::archive(bytes));
