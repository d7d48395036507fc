//! Pseudonyms under a secret key: HMAC-SHA256 (RFC 2104).
//!
//! GoogleSQL has no HMAC, so `sql/pseudonyms/hmac.sql` writes it as two SHA256 over the key's pads, which
//! BigQuery is given as hexadecimal literals. Here the pads never become part of a query: the expression
//! is taken out of the tree as one call of [`NAME`], which the planner knows in built-in views only and
//! which has the key inside. So neither a plan, nor an error, nor a query can show it.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray as _, BinaryArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query, Value,
    VisitMut, VisitorMut,
};
use sha2::{Digest as _, Sha256};

/// The function that takes the place of the two SHA256: BYTES to BYTES.
pub(crate) const NAME: &str = "#hmac_sha256";

/// What stands for the pads of the key in `sql/pseudonyms/hmac.sql`.
const INNER_PLACEHOLDER: &str = "${pseudonym_inner_pad}";
const OUTER_PLACEHOLDER: &str = "${pseudonym_outer_pad}";

/// Bytes of a block of SHA-256.
const BLOCK_BYTES: usize = 64;

/// A secret key for pseudonyms. Shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct PseudonymKey {
    inner_pad: [u8; BLOCK_BYTES],
    outer_pad: [u8; BLOCK_BYTES],
}

/// A key that is too short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key of pseudonyms has {0} bytes, at least {min} are needed", min = PseudonymKey::BYTES_MIN)]
pub struct ShortKey(usize);

impl PseudonymKey {
    /// Shortest key, the length of a hash (RFC 2104, section 3).
    pub const BYTES_MIN: usize = 32;

    /// A key of any length from [`Self::BYTES_MIN`] on.
    ///
    /// # Errors
    /// When it is shorter.
    pub fn new(key: &[u8]) -> Result<Self, ShortKey> {
        if key.len() < Self::BYTES_MIN {
            return Err(ShortKey(key.len()));
        }
        let hashed = Sha256::digest(key);
        let block = if key.len() > BLOCK_BYTES { hashed.as_slice() } else { key };
        let pad = |with: u8| {
            let mut pad = [with; BLOCK_BYTES];
            pad.iter_mut().zip(block).for_each(|(byte, key)| *byte ^= key);
            pad
        };
        Ok(Self { inner_pad: pad(0x36), outer_pad: pad(0x5c) })
    }

    /// HMAC-SHA256 of a message.
    fn sign(&self, message: &[u8]) -> [u8; 32] {
        let inner = Sha256::new().chain_update(self.inner_pad).chain_update(message).finalize();
        Sha256::new().chain_update(self.outer_pad).chain_update(inner).finalize().into()
    }

    /// Tells keys apart without saying anything about them to who has not got one.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(self.sign(b"millrace pseudonym key"))
    }

    /// [`NAME`] under this key.
    pub(crate) fn function(&self) -> Arc<ScalarUDF> {
        let signature = Signature::exact(vec![DataType::Binary], Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Keyed { key: self.clone(), signature }))
    }
}

impl fmt::Debug for PseudonymKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PseudonymKey(...)")
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Keyed {
    key: PseudonymKey,
    signature: Signature,
}

impl Hash for Keyed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        NAME.hash(state);
    }
}

impl ScalarUDFImpl for Keyed {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let messages = ColumnarValue::values_to_arrays(&args.args)?;
        let signed: BinaryArray =
            match messages.first().filter(|array| array.data_type() == &DataType::Binary) {
                Some(messages) => {
                    messages.as_binary::<i32>().iter().map(|message| Some(self.key.sign(message?))).collect()
                }
                None => BinaryArray::new_null(args.number_rows),
            };
        Ok(ColumnarValue::Array(Arc::new(signed)))
    }
}

/// Puts [`NAME`] in the place of every HMAC that is written with the placeholders of the pads.
pub(crate) fn take_pads_out(query: &mut Query) {
    let _ = VisitMut::visit(query, &mut TakeOut);
}

struct TakeOut;

impl VisitorMut for TakeOut {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(message) = signed(expr).cloned()
            && let Expr::Function(function) = expr
        {
            function.name = ObjectName::from(vec![Ident::new(NAME)]);
            if let FunctionArguments::List(list) = &mut function.args {
                list.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(message))];
            }
        }
        ControlFlow::Continue(())
    }
}

/// The message of `SHA256(CONCAT(FROM_HEX(outer), SHA256(CONCAT(FROM_HEX(inner), message))))`.
fn signed(expr: &Expr) -> Option<&Expr> {
    padded(padded(expr, OUTER_PLACEHOLDER)?, INNER_PLACEHOLDER)
}

/// The message of `SHA256(CONCAT(FROM_HEX(pad), message))`.
fn padded<'a>(expr: &'a Expr, pad: &str) -> Option<&'a Expr> {
    let [joined] = arguments(expr, "SHA256")?.try_into().ok()?;
    let [from_hex, message] = arguments(joined, "CONCAT")?.try_into().ok()?;
    match arguments(from_hex, "FROM_HEX")?.as_slice() {
        [Expr::Value(literal)] if matches!(&literal.value, Value::SingleQuotedString(text) if text == pad) => {
            Some(message)
        }
        _ => None,
    }
}

/// The arguments of a call of a function.
fn arguments<'a>(expr: &'a Expr, name: &str) -> Option<Vec<&'a Expr>> {
    let Expr::Function(Function { name: called, args: FunctionArguments::List(list), .. }) = expr else {
        return None;
    };
    if !called.to_string().eq_ignore_ascii_case(name) {
        return None;
    }
    let argument = |argument: &'a FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().map(argument).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cases 6 and 7 of RFC 4231, section 4, the ones whose keys are long enough for us; the others are
    /// answers of Python's hmac module.
    #[test]
    fn signatures_are_those_of_the_rfc() {
        let long = PseudonymKey::new(&[0xaa; 131]).unwrap();
        assert_eq!(
            hex::encode(long.sign(b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(
            hex::encode(long.sign(
                b"This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm."
            )),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"
        );
        for (key, expected) in PYTHON {
            let key = PseudonymKey::new(&vec![b'k'; *key]).unwrap();
            assert_eq!(hex::encode(key.sign(b"dev@example.com")), *expected);
        }
        assert_eq!(PseudonymKey::new(&[1; 31]), Err(ShortKey(31)));
        assert!(!format!("{long:?}").contains("aa"));
    }

    /// Lengths of a key of `k` and what Python 3.11 gives for
    /// `hmac.new(b"k" * length, b"dev@example.com", "sha256").hexdigest()`.
    const PYTHON: &[(usize, &str)] = &[
        (32, "65c5f8729aec062847ae3c4f93be0c9c7a9f73bed9ffa918957a5a8ff543b448"),
        (64, "eebcf0aa48d3f0e3551e34508c9c89c618464b7f5f01c24b2b47932b6964f5c5"),
        (65, "5c65daff9bf83dfce4fa62ea7f42b5d955cff13dbdaa759be7eabe5f8af37643"),
        (131, "284b65e1633b6215bc97622c6e074953bbca4b17202fc860d4ef94175ad1b9f6"),
    ];

    #[test]
    fn the_two_files_of_pseudonyms_differ_in_the_hash_only() {
        let plain = include_str!("../../../sql/pseudonyms/sha256.sql");
        let keyed = include_str!("../../../sql/pseudonyms/hmac.sql");
        let unkeyed = ["user_email", "installation_id"].iter().fold(keyed.to_owned(), |text, column| {
            let hmac = format!(
                "SHA256(CONCAT(FROM_HEX('{OUTER_PLACEHOLDER}'), SHA256(CONCAT(FROM_HEX('{INNER_PLACEHOLDER}'), \
                 CAST(COALESCE({column}, 'unknown') AS BYTES)))))"
            );
            assert!(text.contains(&hmac), "{column}");
            text.replace(&hmac, &format!("SHA256(COALESCE({column}, 'unknown'))"))
        });
        assert_eq!(unkeyed, plain);
    }
}
