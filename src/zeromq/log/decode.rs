//! Decoding of log batches.

use std::net::{Ipv4Addr, Ipv6Addr};

use nom::bytes::complete::take;
use nom::number::complete::{be_f64, be_u8, be_u32, be_u64};

use super::{LogBatch, LogField, LogHeader, LogRow, LogValue, TypeTag};
use crate::data::{Address, Port, Protocol, Step, Subnet};
use crate::wire::{DecodeError, DecodeReason, Limits, Parsed, fail, finish, within};

/// The size of the smallest field: two flags, an empty name, and two types.
const MIN_FIELD: usize = 14;
/// The size of the smallest value: two types and a flag.
const MIN_VALUE: usize = 9;

impl<'a> LogBatch<'a> {
    /// Checks that `bytes` are exactly one batch, and borrows it.
    ///
    /// The number of fields and values, including elements, is limited by [`Limits::max_elements`]. Only the fields are
    /// stored. They take less than three times the memory of their bytes on the wire.
    ///
    /// This is stricter than Zeek's logger. It rejects types that cannot be in a log, flags other than 0 and 1, ports above
    /// 65535, prefix lengths that are invalid for their address, values whose type is not that of their field, rows without
    /// fields, and bytes after the batch. Zeek sends none of these.
    ///
    /// # Errors
    /// Fails if the batch is malformed or exceeds a limit.
    pub fn decode(bytes: &'a [u8], limits: &Limits) -> Result<Self, DecodeError> {
        finish(bytes, batch(bytes, &mut Budget { left: limits.max_elements, limit: limits.max_elements }))
    }

    /// Returns the rows, in order. Each row is decoded when it is returned. It takes at most four times the memory of its bytes on
    /// the wire.
    pub fn rows(&self) -> LogRows<'a, '_> {
        LogRows { fields: &self.header.fields, bytes: self.rows, left: self.row_count }
    }
}

/// The rows of a [`LogBatch`].
#[derive(Clone, Debug)]
pub struct LogRows<'a, 'b> {
    fields: &'b [LogField<'a>],
    bytes: &'a [u8],
    left: usize,
}

impl<'a, 'b> Iterator for LogRows<'a, 'b> {
    type Item = LogRow<'a, 'b>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut values = Vec::with_capacity(self.fields.len());
        for field in self.fields {
            // Cannot fail: the rows were checked when the batch was decoded.
            let (rest, value) = owned_value(self.bytes, field).ok()?;
            values.push(value);
            self.bytes = rest;
        }
        Some(LogRow { fields: self.fields, values })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for LogRows<'_, '_> {}

/// The number of fields and values that a batch may still contain.
struct Budget {
    left: usize,
    limit: usize,
}

impl Budget {
    fn spend<'a>(&mut self, input: &'a [u8], count: usize) -> Parsed<'a, ()> {
        match self.left.checked_sub(count) {
            Some(left) => {
                self.left = left;
                Ok((input, ()))
            }
            None => fail(input, DecodeReason::TooManyElements { limit: self.limit }),
        }
    }
}

fn batch<'a>(input: &'a [u8], budget: &mut Budget) -> Parsed<'a, LogBatch<'a>> {
    let (input, stream) = string(input).map_err(within(Step::Field("stream")))?;
    let (input, writer) = string(input).map_err(within(Step::Field("writer")))?;
    let (input, filter) = string(input).map_err(within(Step::Field("filter")))?;
    let (input, path) = string(input).map_err(within(Step::Field("path")))?;
    let (rows_start, fields) = fields(input, budget)?;
    let (rows, row_count) = row_count(rows_start, fields.len(), budget)?;
    let mut rest = rows;
    for row in 0..row_count {
        for (column, field) in fields.iter().enumerate() {
            (rest, _) = value(rest, field, budget, None)
                .map_err(within(Step::Column(column)))
                .map_err(within(Step::Row(row)))?;
        }
    }
    let header = LogHeader { stream, writer, filter, path, fields };
    Ok((rest, LogBatch { header, rows, row_count }))
}

fn fields<'a>(start: &'a [u8], budget: &mut Budget) -> Parsed<'a, Vec<LogField<'a>>> {
    let (input, number) = be_u32(start)?;
    let (mut input, count) = plausible(start, input, number.into(), MIN_FIELD)?;
    budget.spend(start, count)?;
    let mut fields = Vec::with_capacity(count);
    for column in 0..count {
        let (rest, field) = field(input).map_err(within(Step::Column(column)))?;
        fields.push(field);
        input = rest;
    }
    Ok((input, fields))
}

fn field(input: &[u8]) -> Parsed<'_, LogField<'_>> {
    let (input, has_secondary) = flag(input)?;
    let (input, secondary) = if has_secondary {
        let (input, name) = string(input)?;
        (input, Some(name))
    } else {
        (input, None)
    };
    let (types, name) = string(input)?;
    let (elements, kind) = type_tag(types)?;
    let (input, subtype) = type_tag(elements)?;
    let (input, optional) = flag(input)?;
    if !kind.is_loggable() {
        return fail(types, DecodeReason::InvalidLogType(kind.to_wire()));
    }
    if kind.is_container() {
        if subtype.is_container() {
            return fail(elements, DecodeReason::TooDeep { limit: 1 });
        }
        if !subtype.is_loggable() {
            return fail(elements, DecodeReason::InvalidLogType(subtype.to_wire()));
        }
    }
    Ok((input, LogField { name, secondary, kind, subtype, optional }))
}

/// Reads the number of rows. Rows without fields are rejected: four bytes could claim billions of them.
fn row_count<'a>(start: &'a [u8], columns: usize, budget: &mut Budget) -> Parsed<'a, usize> {
    let (input, number) = be_u32(start)?;
    if columns == 0 && number != 0 {
        return fail(start, DecodeReason::RowsWithoutFields(number));
    }
    let (input, count) = plausible(start, input, number.into(), columns.saturating_mul(MIN_VALUE))?;
    budget.spend(start, count.saturating_mul(columns))?;
    Ok((input, count))
}

/// Converts a count, if `input` can contain that many elements of at least `size` bytes.
fn plausible<'a>(start: &'a [u8], input: &'a [u8], count: u64, size: usize) -> Parsed<'a, usize> {
    match usize::try_from(count) {
        Ok(count) if count.checked_mul(size).is_some_and(|bytes| bytes <= input.len()) => Ok((input, count)),
        _ => fail(start, DecodeReason::CountTooLarge(count)),
    }
}

/// Reads a value and stores its elements.
fn owned_value<'a>(input: &'a [u8], field: &LogField<'_>) -> Parsed<'a, LogValue<'a>> {
    let mut elements = Vec::new();
    // The value was checked against the limits before.
    let budget = &mut Budget { left: usize::MAX, limit: usize::MAX };
    let (rest, value) = value(input, field, budget, Some(&mut elements))?;
    let value = match value {
        LogValue::Set(_) => LogValue::Set(elements),
        LogValue::Vector(_) => LogValue::Vector(elements),
        scalar => scalar,
    };
    Ok((rest, value))
}

/// Reads a value. The elements of a set or vector are appended to `elements`, and the container is returned without them.
fn value<'a>(
    input: &'a [u8],
    field: &LogField<'_>,
    budget: &mut Budget,
    mut elements: Option<&mut Vec<LogValue<'a>>>,
) -> Parsed<'a, LogValue<'a>> {
    if !field.kind.is_container() {
        return scalar(input, field.kind);
    }
    let (start, present) = value_head(input, field.kind)?;
    if !present {
        return Ok((start, LogValue::Unset));
    }
    let (is_set, step): (_, fn(usize) -> Step) = match field.kind {
        TypeTag::Table => (true, Step::SetElement),
        _ => (false, Step::VectorElement),
    };
    // The count is signed. A negative count is a large unsigned number, which is rejected.
    let (input, number) = be_u64(start)?;
    let (mut input, count) = plausible(start, input, number, MIN_VALUE)?;
    budget.spend(start, count)?;
    if let Some(elements) = &mut elements {
        elements.reserve_exact(count);
    }
    for index in 0..count {
        let (rest, element) = scalar(input, field.subtype).map_err(within(step(index)))?;
        if let Some(elements) = &mut elements {
            elements.push(element);
        }
        input = rest;
    }
    Ok((input, if is_set { LogValue::Set(Vec::new()) } else { LogValue::Vector(Vec::new()) }))
}

/// Reads the head of a value, which must have the type `kind`. Returns whether content follows.
///
/// The subtype has no meaning. Zeek sends 0, and Zeek's own tests send other numbers.
fn value_head(start: &[u8], kind: TypeTag) -> Parsed<'_, bool> {
    let (input, found) = type_tag(start)?;
    if found != kind {
        let (found, expected) = (found.name(), kind.name());
        return fail(start, DecodeReason::LogTypeMismatch { found, expected });
    }
    let (input, _subtype) = be_u32(input)?;
    flag(input)
}

/// Reads a value that is not a container.
fn scalar(start: &[u8], kind: TypeTag) -> Parsed<'_, LogValue<'_>> {
    let (input, present) = value_head(start, kind)?;
    if !present {
        return Ok((input, LogValue::Unset));
    }
    Ok(match kind {
        TypeTag::Bool => {
            let (rest, number) = be_u64(input)?;
            (rest, LogValue::Bool(number != 0))
        }
        TypeTag::Int => {
            let (rest, number) = nom::number::complete::be_i64(input)?;
            (rest, LogValue::Int(number))
        }
        TypeTag::Count => {
            let (rest, number) = be_u64(input)?;
            (rest, LogValue::Count(number))
        }
        TypeTag::Double => {
            let (rest, real) = be_f64(input)?;
            (rest, LogValue::Double(real))
        }
        TypeTag::Time => {
            let (rest, seconds) = be_f64(input)?;
            (rest, LogValue::Time(seconds))
        }
        TypeTag::Interval => {
            let (rest, seconds) = be_f64(input)?;
            (rest, LogValue::Interval(seconds))
        }
        TypeTag::String => {
            let (rest, bytes) = string(input)?;
            (rest, LogValue::String(bytes))
        }
        TypeTag::Enum => {
            let (rest, label) = string(input)?;
            (rest, LogValue::Enum(label))
        }
        TypeTag::Func => {
            let (rest, text) = string(input)?;
            (rest, LogValue::Func(text))
        }
        TypeTag::File => {
            let (rest, name) = string(input)?;
            (rest, LogValue::File(name))
        }
        TypeTag::Port => {
            let (rest, port) = port(input)?;
            (rest, LogValue::Port(port))
        }
        TypeTag::Addr => {
            let (rest, address) = address(input)?;
            (rest, LogValue::Address(address))
        }
        TypeTag::Subnet => {
            let (rest, subnet) = subnet(input)?;
            (rest, LogValue::Subnet(subnet))
        }
        // Cannot occur: the types of a field are checked when the field is read.
        _ => return fail(start, DecodeReason::InvalidLogType(kind.to_wire())),
    })
}

fn port(start: &[u8]) -> Parsed<'_, Port> {
    let (input, number) = be_u64(start)?;
    let (rest, protocol) = be_u32(input)?;
    let valid = u16::try_from(number).ok().zip(u8::try_from(protocol).ok().and_then(Protocol::from_wire));
    match valid {
        Some((number, protocol)) => Ok((rest, Port::new(number, protocol))),
        None => fail(start, DecodeReason::InvalidLogPort { number, protocol }),
    }
}

/// Reads an address. An IPv4 address in an IPv6 address (`::ffff:192.0.2.1`) is an IPv4 address, as in Zeek.
fn address(start: &[u8]) -> Parsed<'_, Address> {
    let (input, family) = be_u8(start)?;
    match family {
        4 => {
            let (rest, bits) = be_u32(input)?;
            Ok((rest, Ipv4Addr::from_bits(bits).into()))
        }
        6 => {
            let (rest, bits) = nom::number::complete::be_u128(input)?;
            Ok((rest, Ipv6Addr::from_bits(bits).into()))
        }
        _ => fail(start, DecodeReason::UnknownAddressFamily(family)),
    }
}

fn subnet(start: &[u8]) -> Parsed<'_, Subnet> {
    let (input, length) = be_u8(start)?;
    let (rest, network) = address(input)?;
    match Subnet::from_wire(network, length) {
        Ok(subnet) => Ok((rest, subnet)),
        Err(_) => fail(start, DecodeReason::InvalidPrefixLength(length)),
    }
}

/// Reads a length of four bytes, and then that many bytes.
fn string(start: &[u8]) -> Parsed<'_, &[u8]> {
    let (input, length) = be_u32(start)?;
    take(length)(input)
}

fn type_tag(start: &[u8]) -> Parsed<'_, TypeTag> {
    let (rest, number) = be_u32(start)?;
    match TypeTag::from_wire(number) {
        Some(tag) => Ok((rest, tag)),
        None => fail(start, DecodeReason::InvalidLogType(number)),
    }
}

/// Reads a flag of one byte. Zeek writes 0 and 1, and reads every byte other than 1 as 0.
fn flag(start: &[u8]) -> Parsed<'_, bool> {
    let (rest, byte) = be_u8(start)?;
    match byte {
        0 => Ok((rest, false)),
        1 => Ok((rest, true)),
        _ => fail(start, DecodeReason::InvalidFlag(byte)),
    }
}
