//! Commands in the notation of Broker's C++ implementation, as in the fixtures.

use std::fmt::{self, Display, Formatter};

use super::{Command, CommandContent, EntityId};
use crate::data::Timespan;

impl Display for EntityId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if *self == EntityId::default() {
            f.write_str("none")
        } else {
            write!(f, "{}@{}", self.object, self.endpoint)
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Command { sequence, sender, receiver, content } = self;
        write!(f, "broker::internal_command({sequence}, {sender}, {receiver}, {content})")
    }
}

impl Display for CommandContent {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        use CommandContent as C;
        write!(f, "{}(", self.name())?;
        match self {
            C::Put { key, value, expiry, publisher } | C::Subtract { key, value, expiry, publisher } => {
                write!(f, "{key}, {value}, {}, {publisher}", Expiry(*expiry))?;
            }
            C::PutUnique { key, value, expiry, who, request, publisher } => {
                write!(f, "{key}, {value}, {}, {who}, {request}, {publisher}", Expiry(*expiry))?;
            }
            C::PutUniqueResult { inserted, who, request, publisher } => {
                write!(f, "{inserted}, {who}, {request}, {publisher}")?;
            }
            C::Erase { key, publisher } | C::Expire { key, publisher } => write!(f, "{key}, {publisher}")?,
            C::Add { key, value, init_type, expiry, publisher } => {
                write!(f, "{key}, {value}, {init_type}, {}, {publisher}", Expiry(*expiry))?;
            }
            C::Clear { publisher } => write!(f, "{publisher}")?,
            C::AttachWriter { offset, heartbeat_interval } => write!(f, "{offset}, {heartbeat_interval}")?,
            C::Keepalive { sequence } | C::CumulativeAck { sequence } | C::RetransmitFailed { sequence } => {
                write!(f, "{sequence}")?;
            }
            C::Nack { sequences } => write!(f, "{sequences:?}")?,
            C::AckClone { offset, heartbeat_interval, snapshot } => {
                write!(f, "{offset}, {heartbeat_interval}, {{")?;
                for (index, (key, value)) in snapshot.iter().enumerate() {
                    write!(f, "{}{key} = {value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("}")?;
            }
        }
        f.write_str(")")
    }
}

/// Writes `null` if there is no span. Otherwise writes `*` and the span, such as `*1.5s`. The unit is the largest one that
/// is not longer than the span.
struct Expiry(Option<Timespan>);

impl Display for Expiry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 5] = [
            (3_600_000_000_000, "h"),
            (60_000_000_000, "min"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
        ];
        let Some(span) = self.0 else {
            return f.write_str("null");
        };
        let nanos = span.as_nanos();
        if nanos == 0 {
            return f.write_str("*0s");
        }
        match UNITS.into_iter().find(|(unit, _)| nanos >= *unit) {
            Some((unit, suffix)) => write!(f, "*{}{suffix}", quotient(nanos, unit)),
            None => write!(f, "*{nanos}ns"),
        }
    }
}

/// Returns `nanos / unit` as a decimal number, rounded to at most six decimal places.
fn quotient(nanos: i64, unit: i64) -> String {
    const MILLION: i128 = 1_000_000;
    let unit = i128::from(unit);
    let millionths = i128::from(nanos).saturating_mul(MILLION).saturating_add(unit >> 1);
    let millionths = millionths.checked_div(unit).unwrap_or(0);
    let text = format!("{}.{:06}", millionths.div_euclid(MILLION), millionths.rem_euclid(MILLION));
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
