//! What every scalar function of ours is made of: a table of forms by kinds of arguments, and an
//! evaluation over columns with two moods: an error fails the query, or is NULL (SAFE.).

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BinaryBuilder, BooleanArray, PrimitiveArray,
    StringArray, StringBuilder, StringViewArray,
};
use datafusion::arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use crate::error::SqlError;
use crate::types::{Kind, NUMERIC, field_of};

/// The kinds an argument may have; none listed: any.
pub(crate) type Param = &'static [Kind];

/// What a form gives.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Gives {
    /// A value of a kind.
    One(Kind),
    /// An array of a kind.
    Many(Kind),
    /// An element of the array that is the first argument.
    Element,
    /// What the fields of the arguments say.
    Computed(fn(&ReturnFieldArgs<'_>) -> Result<FieldRef, SqlError>),
}

/// One way to call a function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) takes: &'static [Param],
    /// How many of the last arguments may be left out.
    pub(crate) optional: usize,
    /// Whether the last argument may come many times.
    pub(crate) many: bool,
    pub(crate) gives: Gives,
}

/// A form with all of its arguments.
pub(crate) const fn form(takes: &'static [Param], gives: Kind) -> Form {
    Form { takes, optional: 0, many: false, gives: Gives::One(gives) }
}

/// A form whose last arguments may be left out.
pub(crate) const fn optional(optional: usize, takes: &'static [Param], gives: Kind) -> Form {
    Form { takes, optional, many: false, gives: Gives::One(gives) }
}

/// A scalar function.
pub(crate) struct Definition {
    pub(crate) name: &'static str,
    pub(crate) forms: &'static [Form],
    pub(crate) eval: fn(&Call<'_>) -> Result<ArrayRef>,
}

/// A definition as DataFusion sees it.
pub(crate) struct Function {
    name: String,
    definition: &'static Definition,
    safe: bool,
    signature: Signature,
}

impl Function {
    pub(crate) fn new(name: String, definition: &'static Definition, safe: bool) -> Self {
        let volatility = match definition.name {
            "rand" | "generate_uuid" => Volatility::Volatile,
            _ => Volatility::Immutable,
        };
        Self { name, definition, safe, signature: Signature::user_defined(volatility) }
    }

    /// The form that takes these kinds, and what each argument becomes.
    fn resolve(&self, kinds: &[Kind]) -> Result<(&'static Form, Vec<Kind>), SqlError> {
        let matching = self.definition.forms.iter().find_map(|form| Some((form, form.matches(kinds)?)));
        matching.ok_or_else(|| no_signature(&self.label(), kinds, Some(self.definition.forms)))
    }

    /// The name as a query would write it.
    fn label(&self) -> String {
        label(&self.name)
    }
}

fn label(name: &str) -> String {
    match name.split_once('#') {
        Some(("", "at")) => "[]".to_owned(),
        Some(("", "field")) => ".".to_owned(),
        Some(("", "add")) => "operator +".to_owned(),
        Some(("", "subtract")) => "operator -".to_owned(),
        Some(("", "multiply")) => "operator *".to_owned(),
        Some(("", "divide")) => "operator /".to_owned(),
        Some(("", "bit_not")) => "operator ~".to_owned(),
        Some(("", "shift_left")) => "operator <<".to_owned(),
        Some(("", "shift_right")) => "operator >>".to_owned(),
        Some(("", "in_array")) => "operator IN UNNEST".to_owned(),
        Some(("", "plus_interval")) => "operator + of an INTERVAL".to_owned(),
        Some(("", "minus_interval")) => "operator - of an INTERVAL".to_owned(),
        Some(("", other)) => other.to_uppercase(),
        Some((cast, target)) => format!("{} to {}", cast.to_uppercase(), target.to_uppercase()),
        None => name.to_uppercase(),
    }
}

/// GoogleSQL's complaint about arguments that no form takes.
pub(crate) fn no_signature(label: &str, kinds: &[Kind], forms: Option<&[Form]>) -> SqlError {
    let given: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    let message = format!("no matching signature for {label} with arguments ({})", given.join(", "));
    let taken: Vec<_> = forms.into_iter().flatten().map(Form::describe).collect();
    let hint = (!taken.is_empty()).then(|| format!("it takes {}", taken.join(" or ")));
    SqlError::invalid(message).maybe_hint(hint)
}

impl Form {
    fn matches(&self, kinds: &[Kind]) -> Option<Vec<Kind>> {
        let least = self.takes.len() - self.optional;
        if kinds.len() < least || (kinds.len() > self.takes.len() && !self.many) {
            return None;
        }
        let last = self.takes.last().copied().unwrap_or_default();
        kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| fits(*kind, self.takes.get(index).copied().unwrap_or(last)))
            .collect()
    }

    fn describe(&self) -> String {
        let parameters: Vec<_> = self
            .takes
            .iter()
            .map(|kinds| match kinds {
                [] => "any".to_owned(),
                kinds => kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join("|"),
            })
            .collect();
        format!("({}{})", parameters.join(", "), if self.many { ", ..." } else { "" })
    }
}

/// What an argument becomes to fit a parameter: itself, or what GoogleSQL converts to by itself.
fn fits(kind: Kind, param: Param) -> Option<Kind> {
    match (kind, param) {
        (kind, []) => Some(kind),
        (kind, param) if param.contains(&kind) => Some(kind),
        (Kind::Null, [first, ..]) => Some(*first),
        (Kind::Int, param) if param.contains(&Kind::Numeric) => Some(Kind::Numeric),
        (Kind::Int | Kind::Numeric, param) if param.contains(&Kind::Float) => Some(Kind::Float),
        _ => None,
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Function").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Function {}

impl Hash for Function {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        internal_err!("{} is asked for a type without its arguments", self.name)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let kinds: Vec<_> = types.iter().map(Kind::of_type).collect();
        // JSON looks like a string here; whether it may be one is seen with the fields, later.
        let mut json = kinds.clone();
        if let Some(first @ Kind::String) = json.first_mut() {
            *first = Kind::Json;
        }
        // Complaints are left to the fields, too: DataFusion makes a mere text of an error from here.
        let Ok((_, resolved)) = self.resolve(&kinds).or_else(|_| self.resolve(&json)) else {
            return Ok(types.to_vec());
        };
        Ok(types.iter().zip(resolved).map(|(given, kind)| arrow_type(given, kind)).collect())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        let kinds: Vec<_> = args.arg_fields.iter().map(|field| Kind::of(field)).collect();
        let (form, _) = self.resolve(&kinds)?;
        let data_type = |kind: Kind| kind.arrow().unwrap_or(DataType::Null);
        Ok(match form.gives {
            Gives::One(kind) => field_of(&self.name, data_type(kind), kind == Kind::Json),
            Gives::Many(kind) => {
                let item = field_of("item", data_type(kind), kind == Kind::Json);
                Arc::new(Field::new(&self.name, DataType::List(item), true))
            }
            Gives::Element => match args.arg_fields.first().map(|field| field.data_type()) {
                Some(DataType::List(item) | DataType::LargeList(item)) => {
                    Arc::new(item.as_ref().clone().with_name(&self.name).with_nullable(true))
                }
                _ => field_of(&self.name, DataType::Null, false),
            },
            Gives::Computed(compute) => compute(&args)?,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant =
            !args.args.is_empty() && args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let label = self.label();
        let call = Call {
            label: &label,
            args: &args.args,
            fields: &args.arg_fields,
            gives: &args.return_field,
            rows: if constant && self.signature.volatility != Volatility::Volatile {
                1
            } else {
                args.number_rows
            },
            safe: self.safe,
            options: &args.config_options,
        };
        let array = (self.definition.eval)(&call)?;
        match constant && call.rows == 1 {
            // As it is: what the library makes of a list has lost which elements are JSON.
            true => Ok(ColumnarValue::Scalar(match array.as_list_opt::<i32>() {
                Some(list) => ScalarValue::List(Arc::new(list.slice(0, 1))),
                None => ScalarValue::try_from_array(&array, 0)?,
            })),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}

/// The Arrow type an argument is converted to before evaluation.
fn arrow_type(given: &DataType, kind: Kind) -> DataType {
    match (given, kind) {
        (DataType::Utf8 | DataType::Utf8View, Kind::String | Kind::Json) => given.clone(),
        // Converted to a string it would lose what makes it JSON.
        (DataType::Null, Kind::Json) => DataType::Null,
        (DataType::List(_), Kind::Array) | (DataType::Struct(_), _) | (_, Kind::Other | Kind::Interval) => {
            given.clone()
        }
        (DataType::LargeList(item) | DataType::FixedSizeList(item, _), Kind::Array) => {
            DataType::List(Arc::clone(item))
        }
        (_, Kind::Numeric) => NUMERIC,
        (_, kind) => kind.arrow().unwrap_or_else(|| given.clone()),
    }
}

/// One evaluation: the arguments of a batch of rows.
pub(crate) struct Call<'a> {
    /// The function's name for error messages.
    pub(crate) label: &'a str,
    pub(crate) args: &'a [ColumnarValue],
    pub(crate) fields: &'a [FieldRef],
    pub(crate) gives: &'a FieldRef,
    pub(crate) rows: usize,
    /// Errors are NULL.
    pub(crate) safe: bool,
    pub(crate) options: &'a Arc<ConfigOptions>,
}

/// Strings of an argument, by row.
pub(crate) enum Texts<'a> {
    Array(&'a StringArray),
    View(&'a StringViewArray),
    Same(Option<&'a str>),
}

impl<'a> Texts<'a> {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Array(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Same(text) => *text,
        }
    }
}

/// Numbers, dates or times of an argument, by row.
pub(crate) enum Values<'a, T: ArrowPrimitiveType> {
    Array(&'a PrimitiveArray<T>),
    Same(Option<T::Native>),
}

impl<T: ArrowPrimitiveType> Values<'_, T> {
    #[inline]
    pub(crate) fn get(&self, row: usize) -> Option<T::Native> {
        match self {
            Self::Array(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Same(value) => *value,
        }
    }
}

/// Byte strings of an argument, by row.
pub(crate) enum Blobs<'a> {
    Array(&'a BinaryArray),
    Same(Option<&'a [u8]>),
}

impl Blobs<'_> {
    pub(crate) fn get(&self, row: usize) -> Option<&[u8]> {
        match self {
            Self::Array(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Same(value) => *value,
        }
    }
}

/// What one row gives: a value, NULL, or why there is none.
pub(crate) type Cell<T> = std::result::Result<Option<T>, String>;

impl<'a> Call<'a> {
    pub(crate) fn kind(&self, index: usize) -> Kind {
        self.fields.get(index).map_or(Kind::Null, |field| Kind::of(field))
    }

    /// The argument as a column; one value when it is the same for all rows.
    fn arg(&self, index: usize) -> Result<&'a ColumnarValue> {
        match self.args.get(index) {
            Some(arg) => Ok(arg),
            None => internal_err!("{} has no argument {index}", self.label),
        }
    }

    /// The argument as an array of `rows` rows.
    pub(crate) fn array(&self, index: usize) -> Result<ArrayRef> {
        self.arg(index)?.to_array(self.rows)
    }

    pub(crate) fn texts(&self, index: usize) -> Result<Texts<'a>> {
        Ok(match self.arg(index)? {
            ColumnarValue::Scalar(value) => match value {
                ScalarValue::Utf8(text) | ScalarValue::Utf8View(text) | ScalarValue::LargeUtf8(text) => {
                    Texts::Same(text.as_deref())
                }
                ScalarValue::Null => Texts::Same(None),
                other => return internal_err!("{}: {other} is no string", self.label),
            },
            ColumnarValue::Array(array) => match array.data_type() {
                DataType::Utf8 => Texts::Array(array.as_string::<i32>()),
                DataType::Utf8View => Texts::View(array.as_string_view()),
                DataType::Null => Texts::Same(None),
                other => return internal_err!("{}: {other} is no string", self.label),
            },
        })
    }

    /// As [`Self::texts`], with a value for an argument that was left out.
    pub(crate) fn texts_or(&self, index: usize, default: &'static str) -> Result<Texts<'a>> {
        if index < self.args.len() { self.texts(index) } else { Ok(Texts::Same(Some(default))) }
    }

    fn values<T: ArrowPrimitiveType>(
        &self,
        index: usize,
        scalar: fn(&ScalarValue) -> Option<Option<T::Native>>,
    ) -> Result<Values<'a, T>> {
        Ok(match self.arg(index)? {
            ColumnarValue::Scalar(ScalarValue::Null) => Values::Same(None),
            ColumnarValue::Scalar(value) => match scalar(value) {
                Some(value) => Values::Same(value),
                None => return internal_err!("{}: {value} has a wrong type", self.label),
            },
            ColumnarValue::Array(array) => match array.as_primitive_opt::<T>() {
                Some(array) => Values::Array(array),
                None if array.data_type() == &DataType::Null => Values::Same(None),
                None => return internal_err!("{}: {} is a wrong type", self.label, array.data_type()),
            },
        })
    }

    pub(crate) fn ints(&self, index: usize) -> Result<Values<'a, Int64Type>> {
        self.values(index, |value| if let ScalarValue::Int64(value) = value { Some(*value) } else { None })
    }

    pub(crate) fn ints_or(&self, index: usize, default: i64) -> Result<Values<'a, Int64Type>> {
        if index < self.args.len() { self.ints(index) } else { Ok(Values::Same(Some(default))) }
    }

    pub(crate) fn floats(&self, index: usize) -> Result<Values<'a, Float64Type>> {
        self.values(index, |value| if let ScalarValue::Float64(value) = value { Some(*value) } else { None })
    }

    pub(crate) fn numerics(&self, index: usize) -> Result<Values<'a, Decimal128Type>> {
        self.values(
            index,
            |value| if let ScalarValue::Decimal128(value, ..) = value { Some(*value) } else { None },
        )
    }

    pub(crate) fn dates(&self, index: usize) -> Result<Values<'a, Date32Type>> {
        self.values(index, |value| if let ScalarValue::Date32(value) = value { Some(*value) } else { None })
    }

    /// Microseconds of a TIMESTAMP or DATETIME.
    pub(crate) fn micros(&self, index: usize) -> Result<Values<'a, TimestampMicrosecondType>> {
        self.values(index, |value| {
            if let ScalarValue::TimestampMicrosecond(value, _) = value { Some(*value) } else { None }
        })
    }

    pub(crate) fn bools(&self, index: usize) -> Result<BooleanArray> {
        Ok(self.array(index)?.as_boolean().clone())
    }

    pub(crate) fn blobs(&self, index: usize) -> Result<Blobs<'a>> {
        Ok(match self.arg(index)? {
            ColumnarValue::Scalar(ScalarValue::Binary(value)) => Blobs::Same(value.as_deref()),
            ColumnarValue::Scalar(ScalarValue::Null) => Blobs::Same(None),
            ColumnarValue::Array(array) if array.data_type() == &DataType::Binary => {
                Blobs::Array(array.as_binary::<i32>())
            }
            ColumnarValue::Array(array) if array.data_type() == &DataType::Null => Blobs::Same(None),
            _ => return internal_err!("{}: an argument is not bytes", self.label),
        })
    }

    /// A cell of the result: under SAFE. an error is NULL.
    pub(crate) fn settle<T>(&self, cell: Cell<T>) -> Result<Option<T>> {
        match cell {
            Ok(value) => Ok(value),
            Err(_) if self.safe => Ok(None),
            Err(reason) => Err(SqlError::invalid(format!("{}: {reason}", self.label)).into()),
        }
    }

    pub(crate) fn collect_text<S: AsRef<str>>(
        &self,
        mut cell: impl FnMut(usize) -> Cell<S>,
    ) -> Result<ArrayRef> {
        let mut builder = StringBuilder::with_capacity(self.rows, self.rows * 16);
        for row in 0..self.rows {
            builder.append_option(self.settle(cell(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(crate) fn collect_blobs<B: AsRef<[u8]>>(
        &self,
        mut cell: impl FnMut(usize) -> Cell<B>,
    ) -> Result<ArrayRef> {
        let mut builder = BinaryBuilder::with_capacity(self.rows, self.rows * 16);
        for row in 0..self.rows {
            builder.append_option(self.settle(cell(row))?);
        }
        Ok(Arc::new(builder.finish()))
    }

    pub(crate) fn collect<T: ArrowPrimitiveType>(
        &self,
        mut cell: impl FnMut(usize) -> Cell<T::Native>,
    ) -> Result<ArrayRef> {
        let cells: Vec<_> = (0..self.rows).map(|row| self.settle(cell(row))).collect::<Result<_>>()?;
        let array = PrimitiveArray::<T>::from_iter(cells);
        // Time zone, precision and scale are the result field's.
        Ok(Arc::new(array.with_data_type(self.gives.data_type().clone())))
    }

    pub(crate) fn collect_bools(&self, mut cell: impl FnMut(usize) -> Cell<bool>) -> Result<ArrayRef> {
        let cells: Vec<_> = (0..self.rows).map(|row| self.settle(cell(row))).collect::<Result<_>>()?;
        Ok(Arc::new(BooleanArray::from(cells)))
    }
}
