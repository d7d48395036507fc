//! Functions that Postgres clients call when they connect and when they list things.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;
use pgwire::api::Type;

use crate::fitting::{LIKE_PATTERN, like_pattern};
use crate::settings::{POSTGRES_VERSION, Settings};

/// The value for a row's arguments.
type Eval = Arc<dyn Fn(&[ScalarValue]) -> Result<ScalarValue> + Send + Sync>;

/// A function that is asked a few rows' worth.
struct Little {
    name: &'static str,
    signature: Signature,
    gives: DataType,
    eval: Eval,
}

impl Little {
    /// A function with one of these numbers of arguments.
    fn udf(
        name: &'static str,
        arguments: &[usize],
        gives: DataType,
        eval: impl Fn(&[ScalarValue]) -> Result<ScalarValue> + Send + Sync + 'static,
    ) -> ScalarUDF {
        let forms = arguments.iter().map(|count| match count {
            0 => TypeSignature::Nullary,
            count => TypeSignature::Any(*count),
        });
        let signature = Signature::one_of(forms.collect(), Volatility::Stable);
        ScalarUDF::new_from_impl(Self { name, signature, gives, eval: Arc::new(eval) })
    }
}

impl std::fmt::Debug for Little {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Little").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for Little {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.eval, &other.eval)
    }
}

impl Eq for Little {}

impl Hash for Little {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Little {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.gives.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let values = (0..rows).map(|row| {
            let of_row = arrays.iter().map(|array| ScalarValue::try_from_array(array, row));
            (self.eval)(&of_row.collect::<Result<Vec<_>>>()?)
        });
        let mut values = values.collect::<Result<Vec<_>>>()?;
        match (constant, values.pop()) {
            (true, Some(value)) => Ok(ColumnarValue::Scalar(value)),
            (_, Some(last)) => {
                values.push(last);
                Ok(ColumnarValue::Array(ScalarValue::iter_to_array(values)?))
            }
            (_, None) => Ok(ColumnarValue::Scalar(ScalarValue::try_from(&self.gives)?)),
        }
    }
}

fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

/// An argument that is a text.
fn text_of(value: Option<&ScalarValue>) -> Option<&str> {
    value.and_then(|value| value.try_as_str().flatten())
}

/// Functions that answer everybody alike.
pub(super) fn common(session: &SessionContext) {
    let version = format!(
        "PostgreSQL {POSTGRES_VERSION} (Millrace {}, DataFusion {})",
        env!("CARGO_PKG_VERSION"),
        datafusion::DATAFUSION_VERSION
    );
    session.register_udf(Little::udf("version", &[0], DataType::Utf8, move |_| Ok(text(version.clone()))));
    for name in ["pg_is_in_recovery", "pg_is_wal_replay_paused"] {
        session.register_udf(Little::udf(name, &[0], DataType::Boolean, |_| Ok(false.into())));
    }
    session
        .register_udf(Little::udf("pg_is_other_temp_schema", &[1], DataType::Boolean, |_| Ok(false.into())));
    session.register_udf(Little::udf("pg_my_temp_schema", &[0], DataType::Int32, |_| Ok(0_i32.into())));
    // Nothing has a comment, a definition in Postgres' words, or a lock.
    for (name, arguments) in [
        ("obj_description", &[1, 2][..]),
        ("col_description", &[2]),
        ("shobj_description", &[2]),
        ("pg_get_viewdef", &[1, 2]),
        ("pg_get_indexdef", &[1, 3]),
        ("pg_get_functiondef", &[1]),
        ("pg_get_function_result", &[1]),
        ("pg_get_function_arguments", &[1]),
        ("pg_get_function_identity_arguments", &[1]),
        ("pg_get_ruledef", &[1, 2]),
        ("pg_get_triggerdef", &[1, 2]),
        ("pg_get_serial_sequence", &[2]),
        ("pg_advisory_unlock_all", &[0]),
        ("pg_get_function_sqlbody", &[1]),
        ("pg_tablespace_location", &[1]),
        ("pg_size_pretty", &[1]),
    ] {
        session.register_udf(Little::udf(name, arguments, DataType::Utf8, |_| Ok(ScalarValue::Utf8(None))));
    }
    // Sizes are those of the lake's files, which the catalogue does not know.
    for name in ["pg_table_size", "pg_indexes_size", "pg_database_size"] {
        session.register_udf(Little::udf(name, &[1], DataType::Int64, |_| Ok(ScalarValue::Int64(None))));
    }
    // What there is of these is all in `pg_catalog`, where everybody looks.
    for name in [
        "pg_collation_is_visible",
        "pg_conversion_is_visible",
        "pg_function_is_visible",
        "pg_opclass_is_visible",
        "pg_operator_is_visible",
        "pg_opfamily_is_visible",
        "pg_statistics_obj_is_visible",
        "pg_ts_config_is_visible",
        "pg_type_is_visible",
    ] {
        session.register_udf(Little::udf(name, &[1], DataType::Boolean, |_| Ok(true.into())));
    }
    session.register_udf(Little::udf("getdatabaseencoding", &[0], DataType::Utf8, |_| Ok(text("UTF8"))));
    session.register_udf(Little::udf("pg_char_to_encoding", &[1], DataType::Int32, |_| Ok(6_i32.into())));
    session.register_udf(Little::udf("to_regtype", &[1], DataType::Int32, |arguments| {
        Ok(ScalarValue::Int32(text_of(arguments.first()).and_then(type_oid)))
    }));
    session.register_udf(Little::udf(LIKE_PATTERN, &[2], DataType::Utf8, |arguments| {
        let escape = text_of(arguments.get(1)).and_then(|escape| escape.chars().next());
        Ok(ScalarValue::Utf8(text_of(arguments.first()).map(|pattern| like_pattern(pattern, escape))))
    }));
    for name in [
        "has_any_column_privilege",
        "has_column_privilege",
        "has_database_privilege",
        "has_function_privilege",
        "has_schema_privilege",
        "has_table_privilege",
    ] {
        session.register_udf(Little::udf(name, &[2, 3, 4], DataType::Boolean, |arguments| {
            Ok(text_of(arguments.last()).is_some_and(may).into())
        }));
    }
}

/// The object id of a type by one of its names; `None` when there is none of the name.
fn type_oid(name: &str) -> Option<i32> {
    const BUILT_IN_OIDS_MAX: u32 = 10_000;
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let (item, list) = match name.strip_suffix("[]") {
        Some(item) => (item, "_"),
        None => (name, ""),
    };
    let short = match item {
        "bigint" => "int8",
        "boolean" => "bool",
        "character" => "bpchar",
        "character varying" => "varchar",
        "decimal" => "numeric",
        "double precision" => "float8",
        "int" | "integer" => "int4",
        "real" => "float4",
        "smallint" => "int2",
        "time without time zone" => "time",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        other => other,
    };
    let wanted = format!("{list}{short}");
    let known = (1..BUILT_IN_OIDS_MAX).filter_map(Type::from_oid).find(|known| known.name() == wanted);
    known.and_then(|known| i32::try_from(known.oid()).ok())
}

/// Whether everybody has a privilege: those to read and nothing else. Of several, one is enough.
fn may(privileges: &str) -> bool {
    let mut asked = privileges.split(',').map(|privilege| privilege.trim().to_uppercase());
    asked.any(|privilege| ["SELECT", "USAGE", "CONNECT", "EXECUTE"].contains(&privilege.as_str()))
}

/// Functions that answer for one session.
pub(super) fn of_session(session: &SessionContext, settings: &Arc<Settings>, pid: i32) {
    session.register_udf(Little::udf("pg_backend_pid", &[0], DataType::Int32, move |_| Ok(pid.into())));
    let user = {
        let settings = Arc::clone(settings);
        move || text(settings.get("session_authorization").unwrap_or_default())
    };
    for (name, arguments) in
        [("session_user", &[0][..]), ("current_user", &[0]), ("user", &[0]), ("pg_get_userbyid", &[1])]
    {
        let user = user.clone();
        session.register_udf(Little::udf(name, arguments, DataType::Utf8, move |_| Ok(user())));
    }
    let path = Arc::clone(settings);
    let schema = move |_: &[ScalarValue]| Ok(text(path.dataset()));
    session.register_udf(Little::udf("current_schema", &[0], DataType::Utf8, schema));
    let list = DataType::new_list(DataType::Utf8, true);
    let path = Arc::clone(settings);
    session.register_udf(Little::udf("current_schemas", &[1], list, move |arguments| {
        let implied = matches!(arguments.first(), Some(ScalarValue::Boolean(Some(true))));
        let schemas = implied.then(|| text("pg_catalog")).into_iter().chain([text(path.dataset())]);
        let schemas: Vec<_> = schemas.collect();
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&schemas, &DataType::Utf8)))
    }));
    let read = Arc::clone(settings);
    session.register_udf(Little::udf("current_setting", &[1, 2], DataType::Utf8, move |arguments| {
        let name = text_of(arguments.first()).unwrap_or_default();
        let or_null = matches!(arguments.get(1), Some(ScalarValue::Boolean(Some(true))));
        match read.get(name) {
            None if !or_null => Err(exec_datafusion_err!("unrecognized configuration parameter \"{name}\"")),
            value => Ok(ScalarValue::Utf8(value)),
        }
    }));
    let written = Arc::clone(settings);
    session.register_udf(Little::udf("set_config", &[3], DataType::Utf8, move |arguments| {
        let name = text_of(arguments.first()).unwrap_or_default();
        let value = text_of(arguments.get(1)).unwrap_or_default();
        let local = matches!(arguments.get(2), Some(ScalarValue::Boolean(Some(true))));
        match written.set(name, value, local) {
            Ok(_) => Ok(ScalarValue::Utf8(written.get(name))),
            Err(info) => Err(exec_datafusion_err!("{}", info.message)),
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_numbers() {
        assert_eq!(
            ["int8", "bigint", "pg_catalog.text", "int4[]", "_text"].map(type_oid),
            [20, 20, 25, 1007, 1009].map(Some)
        );
        assert_eq!(type_oid("hstore"), None);
    }

    #[test]
    fn everybody_may_read_and_nothing_else() {
        assert!(may("SELECT") && may("usage") && may("INSERT, SELECT"));
        assert!(!may("INSERT") && !may("CREATE") && !may("") && !may("UPDATE, DELETE"));
    }
}
