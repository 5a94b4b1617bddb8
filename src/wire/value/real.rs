//! The reference's own packing of floating-point numbers (protocol section 5, "Reals").
//!
//! Finite numbers have their IEEE 754 bits. The infinities have each other's, and NaN is all ones.
//! What else IEEE 754 calls NaN is a finite significand with an exponent too large, and so overflows
//! to an infinity of its sign when the reference reads it. Subnormals, which the reference
//! garbles both ways, are written and read here by IEEE 754.

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
    fn other_nans_arrive_as_infinities_as_at_the_reference() {
        assert_eq!(unpack(0x7ff8_0000_0000_0000), f64::INFINITY);
        assert_eq!(unpack(0xfff8_0000_0000_0000), f64::NEG_INFINITY);
        assert!(unpack(NAN).is_nan());
    }

    #[test]
    fn every_kind_of_number_is_read_back() {
        for real in
            [0.0, -0.0, 1.5, -1.0e-300, f64::MIN_POSITIVE / 8.0, f64::MAX, f64::INFINITY, f64::NEG_INFINITY]
        {
            assert_eq!(unpack(pack(real)).to_bits(), real.to_bits(), "{real}");
        }
        assert_eq!(pack(-f64::NAN), NAN);
    }
}
