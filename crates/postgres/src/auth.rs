//! Who may log in: users with passwords, one token for everybody, or everybody on this machine.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use pgwire::api::auth::sasl::scram::{SCRAM_ITERATIONS, gen_salted_password};
use pgwire::api::auth::{AuthSource, LoginInfo, Password};
use pgwire::error::{PgWireError, PgWireResult};

/// Shortest password in a file of users, in characters.
const PASSWORD_CHARACTERS_MIN: usize = 8;
/// Largest file of users.
const USERS_FILE_BYTES_MAX: u64 = 1 << 20;
/// As Postgres makes them.
const SALT_BYTES: usize = 16;

/// Why the port would not be safe to open.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Open to other machines, and anybody could log in.
    #[error(
        "refusing to listen on {0} without credentials: set server.postgres_users_file or server.auth_token_file, or listen on 127.0.0.1"
    )]
    NoCredentials(IpAddr),
    /// The file of users cannot be read.
    #[error("cannot read server.postgres_users_file {path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Others may read the file of users.
    #[error("server.postgres_users_file {0} may be read by others: chmod 600 it")]
    Exposed(PathBuf),
    /// A line of the file that is no user.
    #[error("server.postgres_users_file {path}, line {line}: {reason}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Without users nobody could log in.
    #[error("server.postgres_users_file {0} holds no user: write lines of name:password")]
    NoUsers(PathBuf),
    /// The system has no random bytes.
    #[error("cannot get random bytes for the passwords' salts: {0}")]
    Random(getrandom::Error),
}

/// What a login must show.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Names and passwords.
    Users(BTreeMap<String, String>),
    /// One password, whatever the name.
    Token(String),
    /// Nothing: whoever can connect is let in. On loopback only.
    Trust,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Users(users) => write!(formatter, "Users({})", users.len()),
            Self::Token(_) => formatter.write_str("Token"),
            Self::Trust => formatter.write_str("Trust"),
        }
    }
}

impl Credentials {
    /// The users of `users_file`; without one the token, if there is one; else trust, on loopback.
    ///
    /// # Errors
    /// When the file is not a file of users, when others may read it, and when the address is open to other
    /// machines and there are no credentials.
    pub fn load(
        users_file: Option<&Path>,
        token: Option<&str>,
        address: IpAddr,
    ) -> Result<Self, CredentialsError> {
        match (users_file, token) {
            (Some(path), _) => users(path).map(Self::Users),
            (None, Some(token)) => Ok(Self::Token(token.to_owned())),
            (None, None) if address.is_loopback() => Ok(Self::Trust),
            (None, None) => Err(CredentialsError::NoCredentials(address)),
        }
    }
}

fn users(path: &Path) -> Result<BTreeMap<String, String>, CredentialsError> {
    let unreadable = |reason: String| CredentialsError::Unreadable { path: path.to_owned(), reason };
    let facts = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if facts.permissions().mode() & 0o077 != 0 {
        return Err(CredentialsError::Exposed(path.to_owned()));
    }
    if facts.len() > USERS_FILE_BYTES_MAX {
        return Err(unreadable(format!(
            "it has {} bytes, at most {USERS_FILE_BYTES_MAX} are read",
            facts.len()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let mut users = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong =
            |reason: String| CredentialsError::Line { path: path.to_owned(), line: index + 1, reason };
        let (name, password) = parse_user(line).map_err(wrong)?;
        if users.insert(name.to_owned(), password.to_owned()).is_some() {
            return Err(wrong(format!("user {name} is there twice")));
        }
    }
    if users.is_empty() {
        return Err(CredentialsError::NoUsers(path.to_owned()));
    }
    Ok(users)
}

fn parse_user(line: &str) -> Result<(&str, &str), String> {
    let (name, password) = line.split_once(':').ok_or("it is not name:password")?;
    let characters = password.chars().count();
    if name.trim().is_empty() {
        return Err("the name is missing".to_owned());
    }
    if characters < PASSWORD_CHARACTERS_MIN {
        return Err(format!(
            "the password has {characters} characters, at least {PASSWORD_CHARACTERS_MIN} are needed"
        ));
    }
    Ok((name, password))
}

/// Salted passwords, made once: logging in costs the client the work, not the server.
pub(crate) struct Passwords {
    users: HashMap<String, Vec<u8>>,
    any: Option<Vec<u8>>,
    /// Salts are made of it and the name, so an unknown user has a salt like a known one, always the same.
    secret: [u8; 32],
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Passwords").field("users", &self.users.len()).finish_non_exhaustive()
    }
}

impl Passwords {
    /// `None` when everybody is trusted.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub(crate) fn new(credentials: &Credentials) -> Result<Option<Self>, CredentialsError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(CredentialsError::Random)?;
        let mut passwords = Self { users: HashMap::new(), any: None, secret };
        match credentials {
            Credentials::Trust => return Ok(None),
            Credentials::Token(token) => passwords.any = Some(passwords.salted("", token)),
            Credentials::Users(users) => {
                for (name, password) in users {
                    let salted = passwords.salted(name, password);
                    passwords.users.insert(name.clone(), salted);
                }
            }
        }
        Ok(Some(passwords))
    }

    fn salt(&self, name: &str) -> Vec<u8> {
        // With one password for all there is one salt for all.
        let name = if self.any.is_some() { "" } else { name };
        blake3::keyed_hash(&self.secret, name.as_bytes()).as_bytes()[..SALT_BYTES].to_vec()
    }

    fn salted(&self, name: &str, password: &str) -> Vec<u8> {
        gen_salted_password(password, &self.salt(name), SCRAM_ITERATIONS)
    }

    fn password(&self, name: &str) -> Password {
        let salted = self.any.as_ref().or_else(|| self.users.get(name));
        // No password gives this, so an unknown user fails where a wrong password does.
        let nobody = || blake3::keyed_hash(&self.secret, format!("nobody {name}").as_bytes());
        let salted = salted.cloned().unwrap_or_else(|| nobody().as_bytes().to_vec());
        Password::new(Some(self.salt(name)), salted)
    }
}

#[async_trait]
impl AuthSource for Passwords {
    #[expect(elided_lifetimes_in_paths, reason = "the trait's own spelling, which this must match")]
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        Ok(self.password(login.user().ok_or(PgWireError::UserNameRequired)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        use std::io::Write;
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn users_are_read_and_mistakes_named() {
        let good = file("# analysts\nann:correct horse\n\nbob:with:colons\n", 0o600);
        let users = Credentials::load(Some(good.path()), Some("ignored"), LOCAL).unwrap();
        let expected = [("ann", "correct horse"), ("bob", "with:colons")];
        let expected = expected.map(|(name, password)| (name.to_owned(), password.to_owned()));
        assert_eq!(users, Credentials::Users(expected.into()));
        for (text, complaint) in [
            ("ann", "line 1: it is not name:password"),
            ("ann:correct horse\nbob:short", "line 2: the password has 5 characters"),
            (":correct horse", "line 1: the name is missing"),
            ("ann:correct horse\nann:another one", "line 2: user ann is there twice"),
            ("# nobody\n", "holds no user"),
        ] {
            let bad = file(text, 0o600);
            let error = Credentials::load(Some(bad.path()), None, LOCAL).unwrap_err().to_string();
            assert!(error.contains(complaint), "{error}");
            assert!(!error.contains("short") && !error.contains("horse"), "{error}");
        }
        let exposed = file("ann:correct horse", 0o640);
        let error = Credentials::load(Some(exposed.path()), None, LOCAL).unwrap_err().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn other_machines_need_credentials() {
        let anywhere: IpAddr = "0.0.0.0".parse().unwrap();
        assert!(Credentials::load(None, None, anywhere).is_err());
        assert_eq!(Credentials::load(None, None, LOCAL).unwrap(), Credentials::Trust);
        let token = Credentials::load(None, Some("a token of letters"), anywhere).unwrap();
        assert_eq!(token, Credentials::Token("a token of letters".to_owned()));
    }

    #[test]
    fn an_unknown_user_looks_like_a_known_one() {
        let users = BTreeMap::from([("ann".to_owned(), "correct horse".to_owned())]);
        let passwords = Passwords::new(&Credentials::Users(users)).unwrap().unwrap();
        let (ann, eve) = (passwords.password("ann"), passwords.password("eve"));
        assert_eq!(ann.password(), passwords.salted("ann", "correct horse"));
        assert_ne!(eve.password(), passwords.salted("eve", "correct horse"));
        assert_eq!(eve.salt(), passwords.password("eve").salt());
        assert_eq!(eve.salt().map(<[u8]>::len), ann.salt().map(<[u8]>::len));
        assert_ne!(eve.salt(), ann.salt());
        assert_eq!(eve.password().len(), ann.password().len());
    }
}
