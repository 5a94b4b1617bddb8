#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| zeek_bridge::fuzzing::zeromq_curve(input));
