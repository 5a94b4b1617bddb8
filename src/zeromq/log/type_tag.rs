//! The numbers of Zeek's types.

/// A type of Zeek's script language. The discriminants are the numbers on the wire. They are the same in Zeek 8.0 to 9.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum TypeTag {
    /// No type.
    Void = 0,
    /// `bool`.
    Bool = 1,
    /// `int`.
    Int = 2,
    /// `count`.
    Count = 3,
    /// `double`.
    Double = 4,
    /// `time`.
    Time = 5,
    /// `interval`.
    Interval = 6,
    /// `string`.
    String = 7,
    /// `pattern`.
    Pattern = 8,
    /// `enum`.
    Enum = 9,
    /// `port`.
    Port = 10,
    /// `addr`.
    Addr = 11,
    /// `subnet`.
    Subnet = 12,
    /// `any`.
    Any = 13,
    /// `table` or `set`. In a log, it is always a set.
    Table = 14,
    /// `record`.
    Record = 15,
    /// A list of types, such as the types of a table's keys.
    List = 16,
    /// `function`, `event` or `hook`.
    Func = 17,
    /// `file`.
    File = 18,
    /// `vector`.
    Vector = 19,
    /// `opaque`.
    Opaque = 20,
    /// A type.
    Type = 21,
    /// The result of an error.
    Error = 22,
}

impl TypeTag {
    /// All types, in the order of their numbers.
    pub const ALL: [TypeTag; 23] = [
        TypeTag::Void,
        TypeTag::Bool,
        TypeTag::Int,
        TypeTag::Count,
        TypeTag::Double,
        TypeTag::Time,
        TypeTag::Interval,
        TypeTag::String,
        TypeTag::Pattern,
        TypeTag::Enum,
        TypeTag::Port,
        TypeTag::Addr,
        TypeTag::Subnet,
        TypeTag::Any,
        TypeTag::Table,
        TypeTag::Record,
        TypeTag::List,
        TypeTag::Func,
        TypeTag::File,
        TypeTag::Vector,
        TypeTag::Opaque,
        TypeTag::Type,
        TypeTag::Error,
    ];

    /// Returns the type for a number on the wire, or `None` if there is none.
    #[must_use]
    pub fn from_wire(number: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Returns the number on the wire.
    #[must_use]
    #[allow(clippy::as_conversions, reason = "the discriminant of a field-less enum")]
    pub const fn to_wire(self) -> u32 {
        self as u32
    }

    /// Returns the name of the type, as in Zeek's script language. [`TypeTag::Table`] is a `set`, because this is its only
    /// meaning in a log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            TypeTag::Void => "void",
            TypeTag::Bool => "bool",
            TypeTag::Int => "int",
            TypeTag::Count => "count",
            TypeTag::Double => "double",
            TypeTag::Time => "time",
            TypeTag::Interval => "interval",
            TypeTag::String => "string",
            TypeTag::Pattern => "pattern",
            TypeTag::Enum => "enum",
            TypeTag::Port => "port",
            TypeTag::Addr => "addr",
            TypeTag::Subnet => "subnet",
            TypeTag::Any => "any",
            TypeTag::Table => "set",
            TypeTag::Record => "record",
            TypeTag::List => "list",
            TypeTag::Func => "func",
            TypeTag::File => "file",
            TypeTag::Vector => "vector",
            TypeTag::Opaque => "opaque",
            TypeTag::Type => "type",
            TypeTag::Error => "error",
        }
    }

    /// Returns whether the type is a set or a vector.
    #[must_use]
    pub const fn is_container(self) -> bool {
        matches!(self, TypeTag::Table | TypeTag::Vector)
    }

    /// Returns whether a field of a log can have this type.
    #[must_use]
    pub const fn is_loggable(self) -> bool {
        match self {
            TypeTag::Bool
            | TypeTag::Int
            | TypeTag::Count
            | TypeTag::Double
            | TypeTag::Time
            | TypeTag::Interval
            | TypeTag::String
            | TypeTag::Enum
            | TypeTag::Port
            | TypeTag::Addr
            | TypeTag::Subnet
            | TypeTag::Table
            | TypeTag::Func
            | TypeTag::File
            | TypeTag::Vector => true,
            TypeTag::Void
            | TypeTag::Pattern
            | TypeTag::Any
            | TypeTag::Record
            | TypeTag::List
            | TypeTag::Opaque
            | TypeTag::Type
            | TypeTag::Error => false,
        }
    }
}
