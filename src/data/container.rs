//! Sets and tables, as sorted vectors, so that they are encoded in the order of Broker's C++ implementation.

use super::Value;

/// A set of values, sorted and without duplicates.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Set(Vec<Value>);

/// A table of keys and values, sorted by key.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub struct Table(Vec<(Value, Value)>);

impl Set {
    /// Returns an empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. Returns `false` if it was already in the set.
    pub fn insert(&mut self, value: impl Into<Value>) -> bool {
        let value = value.into();
        match self.0.binary_search(&value) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, value);
                true
            }
        }
    }

    /// Returns whether the set contains the value.
    #[must_use]
    pub fn contains(&self, value: &Value) -> bool {
        self.0.binary_search(value).is_ok()
    }

    /// Returns the elements in order.
    #[must_use]
    pub fn as_slice(&self) -> &[Value] {
        &self.0
    }

    /// Returns the elements in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Value> {
        self.0.iter()
    }

    /// Returns the number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the container is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the set of these elements, or `None` if two of them are equal. The elements may be in any order.
    pub(crate) fn from_distinct(mut elements: Vec<Value>) -> Option<Self> {
        let ascending = |elements: &[Value]| elements.is_sorted_by(|a, b| a < b);
        if !ascending(&elements) {
            elements.sort_unstable();
            if !ascending(&elements) {
                return None;
            }
        }
        Some(Set(elements))
    }
}

impl Table {
    /// Returns an empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the value of a key. Returns the previous value, if any.
    pub fn insert(&mut self, key: impl Into<Value>, value: impl Into<Value>) -> Option<Value> {
        let (key, value) = (key.into(), value.into());
        match self.0.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => self.0.get_mut(at).map(|slot| std::mem::replace(&mut slot.1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &Value) -> Option<&Value> {
        let at = self.0.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Returns the pairs in the order of their keys.
    #[must_use]
    pub fn as_slice(&self) -> &[(Value, Value)] {
        &self.0
    }

    /// Returns the pairs in the order of their keys.
    pub fn iter(&self) -> std::slice::Iter<'_, (Value, Value)> {
        self.0.iter()
    }

    /// Returns the number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether the container is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the table of these pairs, or `None` if two keys are equal. The pairs may be in any order.
    pub(crate) fn from_distinct(mut pairs: Vec<(Value, Value)>) -> Option<Self> {
        let ascending = |pairs: &[(Value, Value)]| pairs.is_sorted_by(|a, b| a.0 < b.0);
        if !ascending(&pairs) {
            pairs.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            if !ascending(&pairs) {
                return None;
            }
        }
        Some(Table(pairs))
    }
}

/// Duplicates are dropped.
impl<T: Into<Value>> FromIterator<T> for Set {
    fn from_iter<I: IntoIterator<Item = T>>(iter: I) -> Self {
        let mut elements: Vec<Value> = iter.into_iter().map(Into::into).collect();
        elements.sort();
        elements.dedup();
        Set(elements)
    }
}

/// If several pairs have the same key, the last pair is kept.
impl<K: Into<Value>, V: Into<Value>> FromIterator<(K, V)> for Table {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        let mut pairs: Vec<(Value, Value)> = iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        pairs.reverse();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs.dedup_by(|a, b| a.0 == b.0);
        Table(pairs)
    }
}

impl IntoIterator for Set {
    type Item = Value;
    type IntoIter = std::vec::IntoIter<Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Set {
    type Item = &'a Value;
    type IntoIter = std::slice::Iter<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Table {
    type Item = (Value, Value);
    type IntoIter = std::vec::IntoIter<(Value, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Table {
    type Item = &'a (Value, Value);
    type IntoIter = std::slice::Iter<'a, (Value, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_sorted_and_distinct() {
        let set: Set = [3u64, 1, 2, 3].into_iter().map(Value::Count).collect();
        assert_eq!(set.as_slice(), [Value::Count(1), Value::Count(2), Value::Count(3)]);
        let mut set = set;
        assert!(!set.insert(Value::Count(2)));
        assert!(set.insert(Value::Boolean(true)));
        assert_eq!(set.as_slice().first(), Some(&Value::Boolean(true)));
    }

    #[test]
    fn the_last_pair_of_a_key_is_kept() {
        let table: Table = [(1u64, 10u64), (0, 5), (1, 11)]
            .into_iter()
            .map(|(k, v)| (Value::Count(k), Value::Count(v)))
            .collect();
        assert_eq!(table.get(&Value::Count(1)), Some(&Value::Count(11)));
        assert_eq!(table.len(), 2);
        let mut table = table;
        assert_eq!(table.insert(Value::Count(0), Value::None), Some(Value::Count(5)));
    }

    #[test]
    fn duplicates_are_found_in_any_order() {
        let (a, b) = (Value::Count(1), Value::Count(2));
        assert!(Set::from_distinct(vec![b.clone(), a.clone()]).is_some());
        assert!(Set::from_distinct(vec![b.clone(), a.clone(), b.clone()]).is_none());
        let pair = |k: &Value| (k.clone(), Value::None);
        assert!(Table::from_distinct(vec![pair(&b), pair(&a)]).is_some());
        assert!(Table::from_distinct(vec![pair(&b), pair(&a), pair(&b)]).is_none());
    }
}
