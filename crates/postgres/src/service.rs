//! What one connection can ask for, whichever way it asks.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::Statement;
use futures::{Sink, SinkExt};
use millrace_sql::{Session, SessionControl, SqlError, on_deep_stack};
use pgwire::api::portal::Format;
use pgwire::api::results::{QueryResponse, Response};
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::{NoticeResponse, TransactionStatus};
use pgwire::messages::startup::ParameterStatus;
use pgwire::types::format::FormatOptions;

use crate::cursor::Cursors;
use crate::errors::{error, from_sql, state, user};
use crate::prepared::{Held, Prepared};
use crate::rows::{Fields, fields, rows, texts};
use crate::server::Shared;
use crate::session;
use crate::settings::{Changed, Settings};
use crate::statement::{Command, commands};
use crate::typed::cast_parameters;

/// Statements of one message, or of one prepared statement, are given up after this long even when nothing
/// of them runs: parsing is bounded by their size, so this is never met but by a machine at its end.
const PARSE_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection's side of the conversation.
pub(crate) struct Service {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) control: Arc<SessionControl>,
    pub(crate) cursors: Cursors,
    pub(crate) statements: Held,
    pub(crate) portals: Held,
    pid: i32,
    session: OnceLock<Session>,
}

/// What a command gives.
pub(crate) enum Reply {
    /// Rows, and the word that their end is announced with.
    Rows(QueryResponse),
    /// Nothing but the word.
    Done(&'static str),
}

/// The client's side.
pub(crate) trait Client:
    ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync
{
}

impl<C> Client for C where C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync
{}

impl Service {
    pub(crate) fn new(
        shared: Arc<Shared>,
        settings: Arc<Settings>,
        control: Arc<SessionControl>,
        pid: i32,
    ) -> Self {
        Self {
            shared,
            settings,
            control,
            cursors: Cursors::default(),
            statements: Held::new("prepared statements"),
            portals: Held::new("portals"),
            pid,
            session: OnceLock::new(),
        }
    }

    /// The session, opened with the first statement.
    pub(crate) fn session(&self) -> &Session {
        self.session.get_or_init(|| {
            let session = self.shared.sessions.open(Arc::clone(&self.control));
            session::register(session.context(), &self.settings, self.pid);
            session::use_dataset(session.context(), &self.settings);
            session
        })
    }

    /// The commands in a text.
    pub(crate) async fn parse(&self, sql: &str) -> PgWireResult<Vec<Command>> {
        let (text, bytes_max) = (sql.to_owned(), self.shared.statement_bytes_max);
        let parsed = on_deep_stack(move || commands(&text, bytes_max));
        let parsed = tokio::time::timeout(PARSE_TIMEOUT, parsed).await;
        let parsed = parsed.map_err(|_| user(error("57014", "the statement takes too long to parse")))?;
        parsed.map_err(|failure| user(from_sql(&failure, None)))?.map_err(user)
    }

    /// In a transaction that has failed there is nothing to do but to end it.
    pub(crate) fn check_transaction(&self, client: &impl ClientInfo, command: &Command) -> PgWireResult<()> {
        let ends = matches!(command, Command::Commit | Command::Rollback | Command::RollbackTo);
        if client.transaction_status() != TransactionStatus::Error || ends {
            return Ok(());
        }
        let message = "current transaction is aborted, commands ignored until end of transaction block";
        Err(user(error(state::IN_FAILED_TRANSACTION, message)))
    }

    /// Does what a command asks for. `prepared` is where it was prepared, if it was.
    pub(crate) async fn run<C: Client>(
        &self,
        client: &mut C,
        command: Command,
        asked: Asked<'_>,
    ) -> PgWireResult<Reply>
    where
        C::PortalStore: PortalStore,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        match command {
            Command::Query(statement) => {
                let explain = matches!(statement, Statement::Explain { .. });
                let mut response = self.query(client, statement, &asked).await?;
                if explain {
                    response.set_command_tag("EXPLAIN");
                }
                Ok(Reply::Rows(response))
            }
            Command::Declare { cursor, query, hold } => {
                let plan = self.plan(query, &asked).await?;
                let batches = self.start(plan).await?;
                self.cursors.open(&cursor, batches, hold).map_err(user)?;
                Ok(Reply::Done("DECLARE CURSOR"))
            }
            Command::Fetch { cursor, rows: wanted } => {
                let cursor = self.cursors.get(&cursor)?;
                let fields = self.fields(client, cursor.schema(), asked.format)?;
                let mut response = rows(&fields, cursor.take(wanted).await);
                response.set_command_tag("FETCH");
                Ok(Reply::Rows(response))
            }
            Command::Close(cursor) => {
                self.cursors.close(cursor.as_deref()).map_err(user)?;
                Ok(Reply::Done("CLOSE CURSOR"))
            }
            Command::Show(name) => self.show(name.as_deref()).map(Reply::Rows),
            Command::Begin | Command::Commit | Command::Rollback | Command::RollbackTo => {
                self.transaction(client, &command).await.map(Reply::Done)
            }
            Command::Savepoint => Ok(Reply::Done("SAVEPOINT")),
            Command::Release => Ok(Reply::Done("RELEASE")),
            Command::Set { name, value, local } => {
                let changed = self.settings.set(&name, &value, local).map_err(user)?;
                self.changed(client, [changed]).await?;
                Ok(Reply::Done("SET"))
            }
            Command::Reset(name) => {
                let changed = self.settings.reset(name.as_deref()).map_err(user)?;
                self.changed(client, changed).await?;
                Ok(Reply::Done("RESET"))
            }
            Command::Nothing(tag) => Ok(Reply::Done(tag)),
            Command::Deallocate(name) => {
                self.deallocate(client, name);
                Ok(Reply::Done("DEALLOCATE"))
            }
            Command::DiscardAll => {
                self.deallocate(client, None);
                self.cursors.close(None).map_err(user)?;
                let changed = self.settings.reset(None).map_err(user)?;
                self.changed(client, changed).await?;
                Ok(Reply::Done("DISCARD ALL"))
            }
        }
    }

    async fn query(
        &self,
        client: &impl ClientInfo,
        statement: Statement,
        asked: &Asked<'_>,
    ) -> PgWireResult<QueryResponse> {
        let plan = self.plan(statement, asked).await?;
        let batches = self.start(plan).await?;
        let fields = self.fields(client, &batches.schema(), asked.format)?;
        if let Some(prepared) = asked.prepared {
            same_columns(prepared, &fields)?;
        }
        Ok(rows(&fields, batches))
    }

    /// The plan of a query with its parameters filled in.
    async fn plan(&self, mut statement: Statement, asked: &Asked<'_>) -> PgWireResult<LogicalPlan> {
        let sql_failed = |failure| user(from_sql(&failure, Some(asked.sql)));
        let kept = asked.prepared.and_then(Prepared::fresh);
        let plan = match kept {
            Some(plan) => plan,
            None => {
                if let Some(prepared) = asked.prepared {
                    cast_parameters(&mut statement, &prepared.casts);
                }
                self.session().plan(statement, asked.sql).await.map_err(sql_failed)?
            }
        };
        let Some(parameters) = asked.parameters else {
            return match crate::parameters::parameters_of(&plan).map_err(user)?.is_empty() {
                true => Ok(plan),
                false => Err(user(error("42P02", "there is no parameter $1"))),
            };
        };
        plan.replace_params_with_values(parameters).map_err(|failure| sql_failed(SqlError::of(&failure)))
    }

    async fn start(
        &self,
        plan: LogicalPlan,
    ) -> PgWireResult<datafusion::execution::SendableRecordBatchStream> {
        self.session().start(plan).await.map_err(|failure| user(from_sql(&failure, None)))
    }

    /// The columns of a result as this client wants them written.
    pub(crate) fn fields(
        &self,
        client: &impl ClientInfo,
        schema: &Schema,
        format: &Format,
    ) -> PgWireResult<Fields> {
        fields(schema, format, &Arc::new(FormatOptions::from_client_metadata(client.metadata())))
    }

    fn show(&self, name: Option<&str>) -> PgWireResult<QueryResponse> {
        let mut response = match name {
            Some(name) => {
                let (name, value) = self.settings.show(name).map_err(user)?;
                texts(&[name], vec![vec![value]])?
            }
            None => {
                let all = self.settings.all().into_iter();
                texts(&["name", "setting"], all.map(|(name, value)| vec![name.to_owned(), value]).collect())?
            }
        };
        response.set_command_tag("SHOW");
        Ok(response)
    }

    async fn transaction<C: Client>(&self, client: &mut C, command: &Command) -> PgWireResult<&'static str>
    where
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let before = client.transaction_status();
        match command {
            Command::Begin => {
                if before == TransactionStatus::Transaction {
                    warn(client, "25001", "there is already a transaction in progress").await?;
                }
                client.set_transaction_status(TransactionStatus::Transaction);
                return Ok("BEGIN");
            }
            Command::RollbackTo => {
                if before == TransactionStatus::Idle {
                    return Err(user(error(
                        "25P01",
                        "ROLLBACK TO SAVEPOINT can only be used in transaction blocks",
                    )));
                }
                client.set_transaction_status(TransactionStatus::Transaction);
                return Ok("ROLLBACK");
            }
            _ => {}
        }
        if before == TransactionStatus::Idle {
            warn(client, "25P01", "there is no transaction in progress").await?;
        }
        client.set_transaction_status(TransactionStatus::Idle);
        self.cursors.end_transaction();
        let changed = self.settings.end_transaction();
        self.changed(client, changed).await?;
        let committed = matches!(command, Command::Commit) && before != TransactionStatus::Error;
        Ok(if committed { "COMMIT" } else { "ROLLBACK" })
    }

    /// Does what changed settings ask for, and tells the client.
    async fn changed<C: Client>(
        &self,
        client: &mut C,
        changes: impl IntoIterator<Item = Changed>,
    ) -> PgWireResult<()>
    where
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        for change in changes {
            if let Some(notice) = &change.notice {
                warn(client, "01000", notice).await?;
            }
            if let Some((name, value)) = change.report {
                client.feed(PgWireBackendMessage::ParameterStatus(ParameterStatus::new(name, value))).await?;
            }
        }
        for name in ["datestyle", "intervalstyle", "bytea_output", "extra_float_digits"] {
            let value = self.settings.get(name).unwrap_or_default();
            client.metadata_mut().insert(name.to_owned(), value);
        }
        session::use_dataset(self.session().context(), &self.settings);
        Ok(())
    }

    fn deallocate<C: Client>(&self, client: &C, name: Option<String>)
    where
        C::PortalStore: PortalStore,
    {
        let names = match name {
            Some(name) => {
                self.statements.remove(&name);
                vec![name]
            }
            None => self.statements.take_all(),
        };
        names.iter().for_each(|name| client.portal_store().rm_statement(name));
    }
}

/// How a command was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The text that it is of.
    pub(crate) sql: &'a str,
    /// How its rows are to be written.
    pub(crate) format: &'a Format,
    /// Where it was prepared.
    pub(crate) prepared: Option<&'a Prepared>,
    /// The values of its parameters.
    pub(crate) parameters: Option<&'a ParamValues>,
}

/// A client reads rows by the columns that it was told; a view that changed since has others.
fn same_columns(prepared: &Prepared, fields: &Fields) -> PgWireResult<()> {
    let Some(schema) = &prepared.schema else { return Ok(()) };
    let told = crate::rows::fields(schema, &Format::UnifiedText, &Arc::default())?;
    let same = told.len() == fields.len()
        && told.iter().zip(fields.iter()).all(|(told, field)| told.datatype() == field.datatype());
    match same {
        true => Ok(()),
        false => Err(user(error(state::FEATURE_NOT_SUPPORTED, "cached plan must not change result type"))),
    }
}

async fn warn<C: Client>(client: &mut C, code: &str, message: &str) -> PgWireResult<()>
where
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let info = ErrorInfo::new("WARNING".to_owned(), code.to_owned(), message.to_owned());
    client.feed(PgWireBackendMessage::NoticeResponse(NoticeResponse::from(info))).await?;
    Ok(())
}

impl From<Reply> for Response {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Rows(rows) => Self::Query(rows),
            Reply::Done(tag) => Self::Execution(pgwire::api::results::Tag::new(tag)),
        }
    }
}
