//! Faults, for those who want to see how their cluster takes them.

use crate::wire::Envelope;

use super::config::Chaos;

/// What becomes of one message.
#[derive(Debug)]
pub(super) struct Fate {
    /// How often it is sent: not at all, once, or twice.
    pub(super) times: usize,
    /// Whether a byte of its payload is changed.
    pub(super) corrupt: bool,
}

impl Chaos {
    /// Throws the dice for one message.
    pub(super) fn fate(&self, random: &mut fastrand::Rng) -> Fate {
        let times = match () {
            () if random.f64() < self.drop => 0,
            () if random.f64() < self.duplicate => 2,
            () => 1,
        };
        Fate { times, corrupt: random.f64() < self.corrupt }
    }
}

/// Changes one byte of the payload, if there is one.
pub(super) fn corrupt(envelope: &mut Envelope, random: &mut fastrand::Rng) {
    let mut payload = Vec::from(&*envelope.payload);
    if payload.is_empty() {
        return;
    }
    let at = random.usize(..payload.len());
    if let Some(byte) = payload.get_mut(at) {
        *byte ^= random.u8(1..);
    }
    envelope.payload = payload.into();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::data::{EndpointId, Topic, Value};

    const NONE: Chaos = Chaos { delay: Duration::ZERO, drop: 0.0, duplicate: 0.0, corrupt: 0.0 };

    #[test]
    fn shares_of_nothing_and_of_everything_are_sure() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..1000 {
            let fate = NONE.fate(&mut random);
            assert_eq!((fate.times, fate.corrupt), (1, false));
            assert_eq!(Chaos { drop: 1.0, ..NONE }.fate(&mut random).times, 0);
            assert_eq!(Chaos { duplicate: 1.0, ..NONE }.fate(&mut random).times, 2);
            assert!(Chaos { corrupt: 1.0, ..NONE }.fate(&mut random).corrupt);
        }
    }

    #[test]
    fn a_share_is_about_that_share() {
        let mut random = fastrand::Rng::with_seed(7);
        let dropped =
            (0..10_000).filter(|_| Chaos { drop: 0.1, ..NONE }.fate(&mut random).times == 0).count();
        assert!((800..1200).contains(&dropped), "{dropped}");
    }

    #[test]
    fn one_byte_is_changed() {
        let envelope =
            Envelope::data(EndpointId::NIL, Topic::from_static("/t"), &Value::String("hello".into()))
                .unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            let mut changed = envelope.clone();
            corrupt(&mut changed, &mut random);
            let differ = changed.payload.iter().zip(&envelope.payload).filter(|(a, b)| a != b).count();
            assert_eq!((differ, changed.payload.len()), (1, envelope.payload.len()));
        }
    }
}
