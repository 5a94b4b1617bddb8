//! Arguments of events as Rust types.

use super::Fields;
use crate::data::{FromValue, Value, WrongType};

/// Types that can be the arguments of an event to send: arrays, vectors, and tuples of up to eight elements. Each
/// element must implement `Into` for [`Value`].
///
/// ```
/// use zeek_bridge::data::Value;
/// use zeek_bridge::zeek::IntoArgs;
///
/// assert_eq!((true, "x").into_args(), [Value::Boolean(true), Value::from("x")]);
/// assert_eq!(["x"].into_args(), [Value::from("x")]);
/// assert_eq!(().into_args(), []);
/// ```
pub trait IntoArgs {
    /// Returns the arguments in order.
    fn into_args(self) -> Vec<Value>;
}

/// Types to which the arguments of a received event can be converted: tuples of up to eight elements, `Vec<Value>`, and
/// the types that [`zeek_event!`](crate::zeek_event) declares.
///
/// ```
/// use zeek_bridge::data::Value;
/// use zeek_bridge::zeek::FromArgs;
///
/// let args = vec![Value::from("x"), Value::Count(1)];
/// assert_eq!(<(String, u64)>::from_args(args.clone()), Ok(("x".to_string(), 1)));
/// let error = <(String,)>::from_args(args).unwrap_err();
/// assert_eq!(error.to_string(), "expected 1 argument, found 2");
/// ```
pub trait FromArgs: Sized {
    /// Converts the arguments.
    ///
    /// # Errors
    /// Fails if the number of arguments is wrong, or if an argument has the wrong type.
    fn from_args(args: Vec<Value>) -> Result<Self, ArgsError>;
}

/// The reason why arguments cannot be converted to the requested types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArgsError {
    /// The number of arguments is wrong.
    #[error("expected {expected} argument{}, found {found}", if *.expected == 1 { "" } else { "s" })]
    WrongCount {
        /// The expected number.
        expected: usize,
        /// The actual number.
        found: usize,
    },
    /// An argument has the wrong type.
    #[error("argument {position}{}: {error}", .name.map(|n| format!(" ({n})")).unwrap_or_default())]
    WrongArgument {
        /// The position of the argument, from 1.
        position: usize,
        /// The name of the argument, if the event was declared with names.
        name: Option<&'static str>,
        /// The type error.
        error: WrongType,
    },
}

impl<V: Into<Value>> IntoArgs for Vec<V> {
    fn into_args(self) -> Vec<Value> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<V: Into<Value>, const N: usize> IntoArgs for [V; N] {
    fn into_args(self) -> Vec<Value> {
        self.into_iter().map(Into::into).collect()
    }
}

impl FromArgs for Vec<Value> {
    fn from_args(args: Vec<Value>) -> Result<Self, ArgsError> {
        Ok(args)
    }
}

macro_rules! tuple_args {
    ($($element:ident)*) => {
        #[allow(non_snake_case, clippy::unused_unit)]
        impl<$($element: Into<Value>),*> IntoArgs for ($($element,)*) {
            fn into_args(self) -> Vec<Value> {
                let ($($element,)*) = self;
                vec![$($element.into()),*]
            }
        }

        #[allow(unused_mut, unused_variables, clippy::unused_unit)]
        impl<$($element: FromValue),*> FromArgs for ($($element,)*) {
            fn from_args(args: Vec<Value>) -> Result<Self, ArgsError> {
                let length = <[&str]>::len(&[$(stringify!($element)),*]);
                let mut arguments = Fields::of_tuple(args, length)?;
                Ok(($(arguments.argument::<$element>()?,)*))
            }
        }
    };
}

tuple_args!();
tuple_args!(A);
tuple_args!(A B);
tuple_args!(A B C);
tuple_args!(A B C D);
tuple_args!(A B C D E);
tuple_args!(A B C D E F);
tuple_args!(A B C D E F G);
tuple_args!(A B C D E F G H);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_of_every_length_round_trip() {
        fn round_trip<T: IntoArgs + FromArgs + Clone + PartialEq + std::fmt::Debug>(tuple: T, length: usize) {
            let args = tuple.clone().into_args();
            assert_eq!(args.len(), length);
            assert_eq!(T::from_args(args.clone()), Ok(tuple.clone()));
            let mut longer = args.clone();
            longer.push(Value::None);
            let error = ArgsError::WrongCount { expected: length, found: length + 1 };
            assert_eq!(T::from_args(longer), Err(error));
            if let Some((_, shorter)) = args.split_last() {
                let error = ArgsError::WrongCount { expected: length, found: length - 1 };
                assert_eq!(T::from_args(shorter.to_vec()), Err(error));
            }
        }
        round_trip((), 0);
        round_trip((1u64,), 1);
        round_trip((1u64, true), 2);
        round_trip((1u64, true, "x".to_string()), 3);
        round_trip((1u64, true, Some(2u64), None::<bool>), 4);
        round_trip((1u64, true, vec![2u64], 3u64, false), 5);
        round_trip((1u64, 2u64, 3u64, 4u64, 5u64, 6u64), 6);
        round_trip((1u64, 2u64, 3u64, 4u64, 5u64, 6u64, 7u64), 7);
        round_trip((1u64, 2u64, 3u64, 4u64, 5u64, 6u64, 7u64, Value::None), 8);
    }

    #[test]
    fn errors_name_the_position_of_the_argument() {
        let args = ("a", 1u64).into_args();
        let error = <(String, bool)>::from_args(args).unwrap_err();
        assert_eq!(error.to_string(), "argument 2: expected boolean, found count");
        let error = <(u64, u64)>::from_args(vec![]).unwrap_err();
        assert_eq!(error.to_string(), "expected 2 arguments, found 0");
    }
}
