//! Macros that declare Zeek's records and events as Rust structs.

/// Declares a Zeek record as a struct. The struct converts to a vector with one element for each field, in the order of
/// declaration. A field that is `None` becomes `Value::None`.
///
/// Fields may have any type that implements `Into<Value>` and [`FromValue`](crate::data::FromValue). `Option<T>` is an
/// `&optional` field. The struct itself implements both traits, so records can be nested in records, containers and
/// events. Errors name the invalid field. The struct keeps the attributes and the visibility that you write. Add a
/// `derive` for `Debug` and other traits.
///
/// A vector with a different number of elements is rejected. End the struct with `..` for records that Zeek scripts extend with
/// `redef record`: missing elements are then unset, and extra elements are ignored. `..more: Vec<Value>` stores extra elements in
/// the field `more`, and appends them when the struct is converted to a value. Zeek needs them: it rejects a record with too few
/// fields.
///
/// ```
/// use zeek_bridge::data::{FromValue, Value};
/// use zeek_bridge::zeek_record;
///
/// zeek_record! {
///     /// An endpoint of a connection.
///     #[derive(Debug, PartialEq)]
///     pub struct Host {
///         /// The name of the host.
///         pub name: String,
///         /// The number of bytes sent, if counted.
///         pub sent: Option<u64>,
///     }
/// }
///
/// let host = Host { name: "a".to_string(), sent: None };
/// let value = Value::from(host);
/// assert_eq!(value, Value::Vector(vec!["a".into(), Value::None]));
/// assert_eq!(Host::from_value(value)?.sent, None);
///
/// let wrong = Value::Vector(vec!["a".into(), "b".into()]);
/// assert_eq!(Host::from_value(wrong).unwrap_err().to_string(), "field sent: expected count, found string");
/// let short = Value::Vector(vec!["a".into()]);
/// assert_eq!(Host::from_value(short).unwrap_err().to_string(), "expected 2 fields, found 1");
///
/// zeek_record! {
///     #[derive(Debug, PartialEq)]
///     pub struct Site { pub name: String, pub owner: Option<String>, .. }
/// }
///
/// let extended = Value::Vector(vec!["a".into(), "b".into(), 5u64.into()]);
/// assert_eq!(Site::from_value(extended)?.owner.as_deref(), Some("b"));
/// let old = Value::Vector(vec!["a".into()]);
/// assert_eq!(Site::from_value(old)?.owner, None);
///
/// zeek_record! {
///     pub struct Kept { pub name: String, ..pub more: Vec<Value> }
/// }
///
/// let extended = Value::Vector(vec!["a".into(), "b".into(), 5u64.into()]);
/// let kept = Kept::from_value(extended.clone())?;
/// assert_eq!(kept.more, ["b".into(), 5u64.into()]);
/// assert_eq!(Value::from(kept), extended);
/// # Ok::<(), zeek_bridge::data::WrongType>(())
/// ```
#[macro_export]
macro_rules! zeek_record {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty, )* ..
        }
    ) => {
        $crate::zeek_record! {
            @define extended_record
            $(#[$meta])*
            $vis struct $name { $( $(#[$field_meta])* $field_vis $field: $type, )* }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty, )*
            .. $(#[$rest_meta:meta])* $rest_vis:vis $rest:ident : $rest_type:ty $(,)?
        }
    ) => {
        $crate::zeek_record! {
            @define extended_record
            $(#[$meta])*
            $vis struct $name { $( $(#[$field_meta])* $field_vis $field: $type, )* }
            rest { $(#[$rest_meta])* $rest_vis $rest: $rest_type }
        }
    };
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $crate::zeek_record! {
            @define record
            $(#[$meta])*
            $vis struct $name { $( $(#[$field_meta])* $field_vis $field: $type, )* }
        }
    };
    (
        @define $fields:ident
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty, )*
        }
        $( rest { $(#[$rest_meta:meta])* $rest_vis:vis $rest:ident : $rest_type:ty } )?
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $type, )*
            $( $(#[$rest_meta])* $rest_vis $rest: $rest_type, )?
        }

        impl ::core::convert::From<$name> for $crate::data::Value {
            fn from(record: $name) -> Self {
                let $name { $($field,)* $($rest,)? } = record;
                #[allow(unused_mut)]
                let mut values: ::std::vec::Vec<$crate::data::Value> = ::std::vec![
                    $( ::core::convert::Into::<$crate::data::Value>::into($field) ),*
                ];
                $( values.extend($rest); )?
                $crate::data::Value::Vector(values)
            }
        }

        impl $crate::data::FromValue for $name {
            fn from_value(
                value: $crate::data::Value,
            ) -> ::core::result::Result<Self, $crate::data::WrongType> {
                const NAMES: &[&str] = &[$(::core::stringify!($field)),*];
                #[allow(unused_mut, unused_variables)]
                let mut fields = $crate::zeek::Fields::$fields(value, NAMES)?;
                ::core::result::Result::Ok($name {
                    $( $field: fields.field::<$type>()?, )*
                    $( $rest: fields.rest(), )?
                })
            }
        }
    };
}

/// Declares a Zeek event as a struct with one field for each argument. The name of the event in Zeek is in parentheses after the
/// name of the struct.
///
/// - `into` converts the struct to an [`Event`](crate::zeek::Event) or a [`ZeekMessage`](crate::zeek::ZeekMessage).
/// - `try_from` converts an event, or a reference to an event, to the struct. It fails unless the event has this name
///   and exactly one argument for each field. Errors name the invalid argument. Metadata is not converted; read it from
///   the event.
/// - The constant `NAME` is the name of the event.
///
/// Fields may have the same types as in [`zeek_record!`](crate::zeek_record).
///
/// ```
/// use zeek_bridge::data::Value;
/// use zeek_bridge::zeek::Event;
/// use zeek_bridge::zeek_event;
///
/// zeek_event! {
///     /// A greeting.
///     #[derive(Debug, PartialEq)]
///     pub struct Ping("Example::ping") {
///         /// The text of the greeting.
///         pub text: String,
///         /// The number of repetitions.
///         pub times: u64,
///     }
/// }
///
/// let event = Event::from(Ping { text: "hello".to_string(), times: 3 });
/// assert_eq!(event, Event::new("Example::ping", ("hello", 3u64)));
/// assert_eq!(Ping::try_from(&event)?.times, 3);
///
/// let error = |event: Event| Ping::try_from(event).unwrap_err().to_string();
/// assert_eq!(
///     error(Event::new(Ping::NAME, ("hello", "3"))),
///     "Example::ping: argument 2 (times): expected count, found string"
/// );
/// assert_eq!(error(Event::new(Ping::NAME, ())), "Example::ping: expected 2 arguments, found 0");
/// assert_eq!(error(Event::new("pong", ())), "expected event Example::ping, found pong");
/// # Ok::<(), zeek_bridge::zeek::EventError>(())
/// ```
#[macro_export]
macro_rules! zeek_event {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident ( $event:expr ) {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $type, )*
        }

        impl $name {
            /// The event's name in Zeek.
            $vis const NAME: &'static str = $event;
        }

        impl $crate::zeek::IntoArgs for $name {
            fn into_args(self) -> ::std::vec::Vec<$crate::data::Value> {
                let $name { $($field),* } = self;
                ::std::vec![ $( ::core::convert::Into::<$crate::data::Value>::into($field) ),* ]
            }
        }

        impl $crate::zeek::FromArgs for $name {
            fn from_args(
                args: ::std::vec::Vec<$crate::data::Value>,
            ) -> ::core::result::Result<Self, $crate::zeek::ArgsError> {
                const NAMES: &[&str] = &[$(::core::stringify!($field)),*];
                #[allow(unused_mut, unused_variables)]
                let mut fields = $crate::zeek::Fields::of_event(args, NAMES)?;
                ::core::result::Result::Ok($name { $( $field: fields.argument::<$type>()? ),* })
            }
        }

        impl ::core::convert::From<$name> for $crate::zeek::Event {
            fn from(event: $name) -> Self {
                $crate::zeek::Event::new($name::NAME, event)
            }
        }

        impl ::core::convert::From<$name> for $crate::zeek::ZeekMessage {
            fn from(event: $name) -> Self {
                $crate::zeek::ZeekMessage::Event(event.into())
            }
        }

        impl ::core::convert::TryFrom<$crate::zeek::Event> for $name {
            type Error = $crate::zeek::EventError;

            fn try_from(
                event: $crate::zeek::Event,
            ) -> ::core::result::Result<Self, $crate::zeek::EventError> {
                event.into_typed($name::NAME)
            }
        }

        impl ::core::convert::TryFrom<&$crate::zeek::Event> for $name {
            type Error = $crate::zeek::EventError;

            fn try_from(
                event: &$crate::zeek::Event,
            ) -> ::core::result::Result<Self, $crate::zeek::EventError> {
                event.to_typed($name::NAME)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use crate::data::{FromValue, Value};
    use crate::zeek::{Event, EventError, ZeekMessage};

    crate::zeek_record! {
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct Inner { r#type: u64, note: Option<String> }
    }

    crate::zeek_record! {
        #[derive(Debug, Clone, PartialEq)]
        pub(crate) struct Outer {
            pub(crate) inner: Inner,
            several: Vec<Inner>,
            perhaps: Option<Inner>,
            anything: Value,
        }
    }

    crate::zeek_record! {
        #[derive(Debug, PartialEq)]
        struct Empty {}
    }

    crate::zeek_record! {
        #[derive(Debug, Clone, PartialEq)]
        struct Ignoring { name: String, owner: Option<String>, .. }
    }

    crate::zeek_record! {
        /// The macro keeps attributes and the visibility.
        #[derive(Debug, Clone, PartialEq)]
        struct Keeping {
            name: String,
            owner: Option<Ignoring>,
            ..
            /// Fields that the site added.
            pub(crate) more: Vec<Value>,
        }
    }

    crate::zeek_event! {
        #[derive(Debug, PartialEq)]
        struct Extended("Example::extended") { ignoring: Ignoring, keeping: Keeping }
    }

    crate::zeek_event! {
        #[derive(Debug, Clone, PartialEq)]
        struct Sent("Example::sent") { r#in: bool, outer: Outer }
    }

    crate::zeek_event! {
        #[derive(Debug, PartialEq)]
        struct Done("Example::done") {}
    }

    fn inner(note: Option<&str>) -> Inner {
        Inner { r#type: 1, note: note.map(Into::into) }
    }

    fn outer() -> Outer {
        let several = vec![inner(None), inner(Some("x"))];
        Outer { inner: inner(Some("y")), several, perhaps: None, anything: Value::None }
    }

    fn vector<const N: usize>(elements: [Value; N]) -> Value {
        Value::Vector(elements.into())
    }

    #[test]
    fn records_can_be_nested_in_records_vectors_and_options() {
        let value = Value::from(outer());
        let one = |note: Value| vector([Value::Count(1), note]);
        let several = vector([one(Value::None), one("x".into())]);
        assert_eq!(value, vector([one("y".into()), several, Value::None, Value::None]));
        assert_eq!(Outer::from_value(value), Ok(outer()));
        assert_eq!(Value::from(Empty {}), vector([]));
        assert_eq!(Empty::from_value(vector([])), Ok(Empty {}));
    }

    #[test]
    fn errors_name_the_field_and_the_path_to_it() {
        let Value::Vector(good) = Value::from(outer()) else { panic!() };
        let error = |at: usize, wrong: Value| {
            let mut fields = good.clone();
            fields[at] = wrong;
            Outer::from_value(Value::Vector(fields)).unwrap_err().to_string()
        };
        assert_eq!(error(0, Value::None), "field inner: expected vector, found none");
        assert_eq!(
            error(0, vector(["x".into(), Value::None])),
            "field inner, field type: expected count, found string"
        );
        assert_eq!(error(2, vector([])), "field perhaps: expected 2 fields, found 0");
        assert_eq!(
            Outer::from_value(Value::Count(1)).unwrap_err().to_string(),
            "expected vector, found count"
        );
    }

    #[test]
    fn two_dots_ignore_extra_fields_and_leave_missing_ones_unset() {
        let read = |fields: &[Value]| Ignoring::from_value(Value::Vector(fields.to_vec()));
        let (name, owner, extra) = (Value::from("n"), Value::from("o"), Value::Count(1));
        let site = |owner: Option<&str>| Ok(Ignoring { name: "n".into(), owner: owner.map(Into::into) });
        assert_eq!(read(&[name.clone(), owner.clone(), extra.clone(), Value::None]), site(Some("o")));
        assert_eq!(read(&[name.clone(), Value::None]), site(None));
        assert_eq!(read(std::slice::from_ref(&name)), site(None));
        assert_eq!(Value::from(site(None).unwrap()), vector([name.clone(), Value::None]));
        let error = |fields: &[Value]| read(fields).unwrap_err().to_string();
        assert_eq!(
            error(&[]),
            "field name: expected string, found none",
            "only optional fields can be missing"
        );
        assert_eq!(error(&[name, extra]), "field owner: expected string, found count");
    }

    #[test]
    fn a_field_after_two_dots_keeps_extra_fields() {
        let owner = vector(["n".into(), Value::None]);
        let extended = vector(["a".into(), owner.clone(), Value::Count(1), Value::None]);
        let kept = Keeping::from_value(extended.clone()).unwrap();
        assert_eq!(kept.more, [Value::Count(1), Value::None]);
        assert_eq!(Value::from(kept), extended);
        let old = Keeping::from_value(vector(["a".into()])).unwrap();
        assert_eq!((old.owner.clone(), old.more.len()), (None, 0));
        assert_eq!(Value::from(old), vector(["a".into(), Value::None]));
        // The record is an argument of an event, and is nested in another value.
        let event = Event::new(Extended::NAME, (owner.clone(), extended));
        let typed = Extended::try_from(&event).unwrap();
        assert_eq!((typed.ignoring.owner.as_deref(), typed.keeping.more.len()), (None, 2));
        assert_eq!(Event::from(typed), event);
    }

    #[test]
    fn typed_events_round_trip() {
        let sent = Sent { r#in: true, outer: outer() };
        let event = Event::from(sent.clone());
        assert_eq!((event.name.as_str(), event.args.len()), (Sent::NAME, 2));
        assert_eq!(Sent::try_from(&event), Ok(sent.clone()));
        assert_eq!(ZeekMessage::from(sent.clone()), ZeekMessage::Event(event.clone()));
        assert_eq!(Sent::try_from(event), Ok(sent));
        assert_eq!(Done::try_from(Event::from(Done {})), Ok(Done {}));
    }

    #[test]
    fn errors_describe_the_wrong_event_or_argument() {
        let both = |event: Event| {
            let error = Sent::try_from(&event).unwrap_err();
            assert_eq!(Sent::try_from(event), Err(error.clone()));
            error
        };
        let named = EventError::WrongName { expected: "Example::sent", found: "Example::done".into() };
        assert_eq!(both(Event::from(Done {})), named);
        assert_eq!(
            both(Event::new(Sent::NAME, (1u64, outer()))).to_string(),
            "Example::sent: argument 1 (in): expected boolean, found count"
        );
        assert_eq!(
            both(Event::new(Sent::NAME, (true, vector([])))).to_string(),
            "Example::sent: argument 2 (outer): expected 4 fields, found 0"
        );
        assert_eq!(
            both(Event::new(Sent::NAME, (true,))).to_string(),
            "Example::sent: expected 2 arguments, found 1"
        );
    }
}
