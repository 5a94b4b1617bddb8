//! An encoder for tests that uses every freedom of the wire format. It writes elements in any order, over-long lengths, and
//! any byte except 0 for "true".

#![allow(clippy::arithmetic_side_effects, reason = "test code")]

use crate::data::Value;
use crate::wire::encode_value;

pub(super) struct Loose {
    random: u64,
    /// The set or table that gets a duplicate element or key: its index among all sets and tables that are not empty.
    duplicate_in: Option<usize>,
    out: Vec<u8>,
}

impl Loose {
    pub(super) fn new(seed: u64) -> Self {
        Loose { random: seed | 1, duplicate_in: None, out: Vec::new() }
    }

    pub(super) fn write(mut self, value: &Value) -> Vec<u8> {
        self.value(value);
        self.out
    }

    /// Returns `None` if `value` does not contain enough sets and tables for this index.
    pub(super) fn write_with_duplicate(mut self, value: &Value, duplicate_in: usize) -> Option<Vec<u8>> {
        self.duplicate_in = Some(duplicate_in);
        self.value(value);
        self.duplicate_in.is_none().then_some(self.out)
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Boolean(true) => {
                let byte = 1 + self.below(255);
                self.out.extend([1, u8::try_from(byte).unwrap()]);
            }
            Value::String(bytes) | Value::EnumValue(bytes) => {
                self.head(value, bytes.len());
                self.out.extend(bytes.as_bytes());
            }
            Value::Vector(elements) => {
                self.head(value, elements.len());
                elements.iter().for_each(|element| self.value(element));
            }
            Value::Set(set) => {
                let mut elements: Vec<&Value> = set.iter().collect();
                self.duplicate_and_shuffle(&mut elements);
                self.head(value, elements.len());
                elements.into_iter().for_each(|element| self.value(element));
            }
            Value::Table(table) => {
                let mut pairs: Vec<&(Value, Value)> = table.iter().collect();
                self.duplicate_and_shuffle(&mut pairs);
                self.head(value, pairs.len());
                for (key, value) in pairs {
                    self.value(key);
                    self.value(value);
                }
            }
            _ => encode_value(value, &mut self.out).unwrap(),
        }
    }

    fn duplicate_and_shuffle<T: Copy>(&mut self, elements: &mut Vec<T>) {
        if elements.is_empty() {
            return;
        }
        match self.duplicate_in {
            Some(0) => {
                elements.push(elements[self.below(elements.len())]);
                self.duplicate_in = None;
            }
            ref mut more => *more = more.map(|n| n - 1),
        }
        for end in (1..elements.len()).rev() {
            let other = self.below(end + 1);
            elements.swap(other, end);
        }
    }

    /// Writes the tag and a length of up to five bytes.
    fn head(&mut self, value: &Value, mut length: usize) {
        self.out.push(value.tag());
        let mut groups = vec![];
        while length > 0 || groups.is_empty() {
            groups.push(u8::try_from(length & 0x7f).unwrap());
            length >>= 7;
        }
        let size = groups.len() + self.below(6 - groups.len());
        groups.resize(size, 0);
        let (last, others) = groups.split_last().unwrap();
        self.out.extend(others.iter().map(|group| group | 0x80));
        self.out.push(*last);
    }

    /// Returns a pseudo-random number below `bound` (xorshift).
    fn below(&mut self, bound: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 32).unwrap() % bound
    }
}
