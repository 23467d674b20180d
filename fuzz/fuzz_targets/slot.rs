//! `lrl_store::fuzz::slot` on whatever libFuzzer finds.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lrl_store::fuzz::slot(bytes));
