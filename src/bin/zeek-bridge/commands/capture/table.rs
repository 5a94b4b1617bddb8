//! The connections of a capture.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::connection::Connection;
use super::link::Segment;
use super::report::Report;
use crate::output::Failure;

/// Maximum number of connections at a time. If there are more, closed connections are removed, and then the connections that
/// were silent for the longest time. If a removed connection continues, it counts as a new one whose beginning is missing.
const MAX_CONNECTIONS: usize = 65_536;

/// Maximum memory of all connections in bytes. If they need more, the connection that uses the most memory is ended.
const MAX_MEMORY: usize = 256 * 1024 * 1024;

pub(super) struct Table {
    connections: HashMap<(SocketAddr, SocketAddr), Connection>,
    max_connections: usize,
    memory: usize,
    max_memory: usize,
    packets: u64,
    pub(super) tally: Tally,
}

/// The counts at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The number of connections.
    pub(super) connections: u64,
    /// The number of connections whose frames are decoded.
    pub(super) decoded: u64,
    pub(super) errors: u64,
    /// The number of connections that were ended early because of a limit.
    pub(super) evicted: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self::with_limits(MAX_CONNECTIONS, MAX_MEMORY)
    }
}

impl Table {
    pub(super) fn with_limits(max_connections: usize, max_memory: usize) -> Self {
        Table {
            connections: HashMap::new(),
            max_connections,
            memory: 0,
            max_memory,
            packets: 0,
            tally: Tally::default(),
        }
    }

    pub(super) fn segment(
        &mut self,
        segment: &Segment<'_>,
        t_ns: u64,
        report: &mut dyn Report,
    ) -> Result<(), Failure> {
        let key = (segment.from.min(segment.to), segment.from.max(segment.to));
        self.packets = self.packets.saturating_add(1);
        let (mut reuse, mut known) = (0u64, false);
        if let Some(connection) = self.connections.get_mut(&key) {
            known = true;
            if connection.is_replaced_by(segment) {
                reuse = connection.reuse.saturating_add(1);
                known = false;
            }
        }
        if !known {
            let begins = segment.syn || !segment.payload.is_empty() || segment.cut > 0;
            if !begins {
                return Ok(());
            }
            if reuse > 0 {
                self.end(&key, report)?;
            } else if self.connections.len() >= self.max_connections {
                self.evict_oldest(report)?;
            }
            self.tally.connections = self.tally.connections.saturating_add(1);
            let connection = Connection::new(segment, t_ns, self.tally.connections, reuse);
            self.connections.insert(key, connection);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return Ok(()) };
        connection.last = self.packets;
        let (before, open) = (connection.memory(), !connection.closed);
        let result = connection.segment(segment, t_ns, report);
        self.memory = self.memory.saturating_add(connection.memory()).saturating_sub(before);
        if open && connection.closed {
            self.tally.add(connection);
        }
        if self.memory > self.max_memory {
            self.evict_largest(report)?;
        }
        result
    }

    /// Ends all connections at the end of the capture.
    pub(super) fn finish(&mut self, report: &mut dyn Report) -> Result<(), Failure> {
        let mut keys: Vec<_> =
            self.connections.iter().map(|(key, connection)| (connection.number(), *key)).collect();
        keys.sort_unstable();
        keys.into_iter().try_for_each(|(_, key)| self.end(&key, report))
    }

    /// Ends and removes a connection.
    fn end(&mut self, key: &(SocketAddr, SocketAddr), report: &mut dyn Report) -> Result<(), Failure> {
        let Some(mut connection) = self.connections.remove(key) else { return Ok(()) };
        self.memory = self.memory.saturating_sub(connection.memory());
        if connection.closed {
            return Ok(());
        }
        let result = connection.end(report);
        self.tally.add(&connection);
        result
    }

    fn evict_largest(&mut self, report: &mut dyn Report) -> Result<(), Failure> {
        let largest = self.connections.iter().max_by_key(|(_, connection)| connection.memory());
        let Some(key) = largest.map(|(key, _)| *key) else { return Ok(()) };
        self.tally.evicted = self.tally.evicted.saturating_add(1);
        self.end(&key, report)
    }

    fn evict_oldest(&mut self, report: &mut dyn Report) -> Result<(), Failure> {
        self.connections.retain(|_, connection| !connection.closed);
        let mut oldest: Vec<_> =
            self.connections.iter().map(|(key, connection)| (connection.last, *key)).collect();
        if oldest.len() < self.max_connections / 2 {
            return Ok(());
        }
        oldest.sort_unstable();
        oldest.truncate(oldest.len() / 2);
        for (_, key) in oldest {
            self.tally.evicted = self.tally.evicted.saturating_add(1);
            self.end(&key, report)?;
        }
        Ok(())
    }
}

impl Tally {
    fn add(&mut self, connection: &Connection) {
        self.decoded = self.decoded.saturating_add(connection.is_known().into());
        self.errors = self.errors.saturating_add(connection.errors());
    }
}
