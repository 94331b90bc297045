#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| extender_facade::fuzzing::migration_tables(data));
