//! Hashes and encodings of bytes
//! (<https://cloud.google.com/bigquery/docs/reference/standard-sql/hash_functions>).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::compute;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::common::Result;
use datafusion::functions::crypto;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};

use super::farm::fingerprint;
use super::scalar::{Call, Definition, form};
use crate::types::Kind;

const HASHED: &[Kind] = &[Kind::String, Kind::Bytes];
const BYTES: &[Kind] = &[Kind::Bytes];
const TEXT: &[Kind] = &[Kind::String];

pub(super) const DEFINITIONS: &[Definition] = &[
    Definition {
        name: "sha256",
        forms: &[form(&[HASHED], Kind::Bytes)],
        eval: |call| hashed(call, &crypto::sha256()),
    },
    Definition {
        name: "sha512",
        forms: &[form(&[HASHED], Kind::Bytes)],
        eval: |call| hashed(call, &crypto::sha512()),
    },
    Definition {
        name: "md5",
        forms: &[form(&[HASHED], Kind::Bytes)],
        eval: |call| digested::<md5::Md5>(call),
    },
    Definition {
        name: "sha1",
        forms: &[form(&[HASHED], Kind::Bytes)],
        eval: |call| digested::<sha1::Sha1>(call),
    },
    Definition {
        name: "farm_fingerprint",
        forms: &[form(&[&[Kind::String]], Kind::Int), form(&[BYTES], Kind::Int)],
        eval: farm_fingerprint,
    },
    Definition { name: "to_hex", forms: &[form(&[BYTES], Kind::String)], eval: to_hex },
    Definition { name: "from_hex", forms: &[form(&[TEXT], Kind::Bytes)], eval: from_hex },
    Definition { name: "to_base64", forms: &[form(&[BYTES], Kind::String)], eval: to_base64 },
    Definition { name: "from_base64", forms: &[form(&[TEXT], Kind::Bytes)], eval: from_base64 },
];

/// DataFusion's own hash functions give exactly the bytes that GoogleSQL's do.
fn hashed(call: &Call<'_>, function: &ScalarUDF) -> Result<ArrayRef> {
    let args = ScalarFunctionArgs {
        args: vec![ColumnarValue::Array(call.array(0)?)],
        arg_fields: call.fields.to_vec(),
        number_rows: call.rows,
        return_field: Arc::clone(call.gives),
        config_options: Arc::clone(call.options),
    };
    let hashes = function.invoke_with_args(args)?.to_array(call.rows)?;
    Ok(compute::cast(&hashes, call.gives.data_type())?)
}

/// The hashes that DataFusion has not, or gives as text.
fn digested<D: sha2::Digest>(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0) == Kind::Bytes {
        let values = call.blobs(0)?;
        return call.collect_blobs(|row| Ok(values.get(row).map(|bytes| D::digest(bytes).to_vec())));
    }
    let values = call.texts(0)?;
    call.collect_blobs(|row| Ok(values.get(row).map(|text| D::digest(text.as_bytes()).to_vec())))
}

fn farm_fingerprint(call: &Call<'_>) -> Result<ArrayRef> {
    if call.kind(0) == Kind::Bytes {
        let values = call.blobs(0)?;
        return call
            .collect::<Int64Type>(|row| Ok(values.get(row).map(|bytes| fingerprint(bytes).cast_signed())));
    }
    let values = call.texts(0)?;
    call.collect::<Int64Type>(|row| {
        Ok(values.get(row).map(|text| fingerprint(text.as_bytes()).cast_signed()))
    })
}

fn to_hex(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.blobs(0)?;
    call.collect_text(|row| Ok(values.get(row).map(hex::encode)))
}

fn from_hex(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.texts(0)?;
    call.collect_blobs(|row| {
        // An odd number of digits begins with half a byte.
        let digits = values
            .get(row)
            .map(|text| if text.len() % 2 == 0 { text.to_owned() } else { format!("0{text}") });
        digits.map(hex::decode).transpose().map_err(|_| "the text is not hexadecimal".to_owned())
    })
}

fn to_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.blobs(0)?;
    call.collect_text(|row| Ok(values.get(row).map(|bytes| BASE64.encode(bytes))))
}

fn from_base64(call: &Call<'_>) -> Result<ArrayRef> {
    let values = call.texts(0)?;
    call.collect_blobs(|row| {
        values
            .get(row)
            .map(|text| BASE64.decode(text))
            .transpose()
            .map_err(|_| "the text is not base64".to_owned())
    })
}
