//! Broker's encoding of floating-point numbers (`PROTOCOL.md`, section 5, "Reals").
//!
//! Finite numbers have their IEEE 754 bits. The two infinities are swapped, and NaN is all ones. Two more cases are
//! special:
//!
//! - IEEE 754 has more NaNs. Broker's C++ implementation reads each of them as a number whose exponent is too large, and
//!   returns an infinity of the same sign. This module does the same.
//! - Broker's C++ implementation garbles subnormal numbers when it writes and when it reads them. This module encodes them
//!   as IEEE 754 does.

const POSITIVE_INFINITY: u64 = 0xfff0_0000_0000_0000;
const NEGATIVE_INFINITY: u64 = 0x7ff0_0000_0000_0000;
const NAN: u64 = u64::MAX;

pub(super) fn unpack(bits: u64) -> f64 {
    match bits {
        POSITIVE_INFINITY => f64::INFINITY,
        NEGATIVE_INFINITY => f64::NEG_INFINITY,
        NAN => f64::NAN,
        _ => {
            let real = f64::from_bits(bits);
            if real.is_nan() { f64::INFINITY.copysign(real) } else { real }
        }
    }
}

pub(super) fn pack(real: f64) -> u64 {
    if real.is_nan() {
        NAN
    } else if real == f64::INFINITY {
        POSITIVE_INFINITY
    } else if real == f64::NEG_INFINITY {
        NEGATIVE_INFINITY
    } else {
        real.to_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_nans_are_read_as_infinities_as_by_broker() {
        assert_eq!(unpack(0x7ff8_0000_0000_0000), f64::INFINITY);
        assert_eq!(unpack(0xfff8_0000_0000_0000), f64::NEG_INFINITY);
        assert!(unpack(NAN).is_nan());
    }

    #[test]
    fn every_kind_of_number_round_trips() {
        for real in
            [0.0, -0.0, 1.5, -1.0e-300, f64::MIN_POSITIVE / 8.0, f64::MAX, f64::INFINITY, f64::NEG_INFINITY]
        {
            assert_eq!(unpack(pack(real)).to_bits(), real.to_bits(), "{real}");
        }
        assert_eq!(pack(-f64::NAN), NAN);
    }
}
