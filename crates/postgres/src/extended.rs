//! The extended protocol: statements that are prepared, bound to values and run in steps.

use std::fmt::Debug;
use std::ops::DerefMut;
use std::sync::Arc;

use async_trait::async_trait;
use futures::{Sink, SinkExt, StreamExt};
use pgwire::api::portal::{Format, Portal, PortalExecutionState};
use pgwire::api::query::{ExtendedQueryHandler, send_describe_response};
use pgwire::api::results::{
    DescribePortalResponse, DescribeStatementResponse, FieldInfo, QueryResponse, Response, Tag,
};
use pgwire::api::stmt::{QueryParser, StoredStatement};
use pgwire::api::store::{Entry, PortalStore};
use pgwire::api::{ClientInfo, ClientPortalStore, DEFAULT_NAME, PgWireConnectionState, Type};
use pgwire::error::{PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
    Sync as PgSync, TARGET_TYPE_BYTE_PORTAL, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::response::{EmptyQueryResponse, ReadyForQuery};

use crate::counted::counted;
use crate::errors::{error, state, user};
use crate::parameters::bound;
use crate::prepared::Prepared;
use crate::service::{Asked, Client, Reply, Service};
use crate::simple::complete;
use crate::statement::Command;

/// What a portal store holds.
type Held = Arc<Prepared>;

#[async_trait]
impl ExtendedQueryHandler for Service {
    type Statement = Held;
    type QueryParser = Unused;

    fn query_parser(&self) -> Arc<Unused> {
        Arc::new(Unused)
    }

    async fn on_parse<C>(&self, client: &mut C, message: Parse) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let types: Vec<_> = message.type_oids.iter().map(|oid| Type::from_oid(*oid)).collect();
        let prepared = self.prepare(client, &message.query, &types).await?;
        self.statements.add(name, message.query.len()).map_err(user)?;
        match prepared {
            None => client.portal_store().put_empty_statement(name),
            Some(prepared) => {
                let stored = StoredStatement::new(name.to_owned(), Arc::new(prepared), types);
                client.portal_store().put_statement(Arc::new(stored));
            }
        }
        client.feed(PgWireBackendMessage::ParseComplete(ParseComplete::new())).await?;
        Ok(())
    }

    async fn on_bind<C>(&self, client: &mut C, message: Bind) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statement_name = message.statement_name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal_name = message.portal_name.as_deref().unwrap_or(DEFAULT_NAME);
        let bytes = message.parameters.iter().flatten().map(bytes::Bytes::len).sum();
        match client.portal_store().get_statement(statement_name) {
            None => return Err(PgWireError::StatementNotFound(statement_name.to_owned())),
            Some(Entry::Empty) => {
                check_counts(&message, 0, 0)?;
                self.portals.add(portal_name, bytes).map_err(user)?;
                client.portal_store().put_empty_portal(portal_name);
            }
            Some(Entry::Value(stored)) => {
                let prepared = &stored.statement;
                let columns = prepared.schema.as_ref().map_or(0, |schema| schema.fields().len());
                check_counts(&message, prepared.parameters.len(), columns)?;
                self.portals.add(portal_name, bytes).map_err(user)?;
                client.portal_store().put_portal(Arc::new(Portal::try_new(&message, stored)?));
            }
        }
        client.feed(PgWireBackendMessage::BindComplete(BindComplete::new())).await?;
        Ok(())
    }

    async fn on_describe<C>(&self, client: &mut C, message: Describe) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        // What a cursor gives is asked for as if it were a portal.
        if let Some(cursor) = message.name.as_deref().and_then(|name| self.cursors.find(name))
            && message.target_type == TARGET_TYPE_BYTE_PORTAL
        {
            let fields = self.fields(client, cursor.schema(), &Format::UnifiedText)?;
            return send_describe_response(client, &DescribePortalResponse::new(fields.to_vec())).await;
        }
        self._on_describe(client, message).await
    }

    async fn do_describe_statement<C>(
        &self,
        client: &mut C,
        target: &StoredStatement<Held>,
    ) -> PgWireResult<DescribeStatementResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &target.statement;
        let declared = |index: usize| target.parameter_types.get(index).cloned().flatten();
        let types = prepared.parameters.iter().enumerate();
        let types = types.map(|(index, own)| declared(index).unwrap_or_else(|| own.wire_type.clone()));
        let columns = self.columns(client, prepared, &Format::UnifiedText)?;
        Ok(DescribeStatementResponse::new(types.collect(), columns))
    }

    async fn do_describe_portal<C>(
        &self,
        client: &mut C,
        target: &Portal<Held>,
    ) -> PgWireResult<DescribePortalResponse>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let columns = self.columns(client, &target.statement.statement, &target.result_column_format)?;
        Ok(DescribePortalResponse::new(columns))
    }

    async fn on_execute<C>(&self, client: &mut C, message: Execute) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        if !matches!(client.state(), PgWireConnectionState::ReadyForQuery) {
            return Err(PgWireError::NotReadyForQuery);
        }
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        let portal = match client.portal_store().get_portal(name) {
            None => return Err(PgWireError::PortalNotFound(name.to_owned())),
            Some(Entry::Empty) => {
                client.feed(PgWireBackendMessage::EmptyQueryResponse(EmptyQueryResponse::new())).await?;
                return Ok(());
            }
            Some(Entry::Value(portal)) => portal,
        };
        client.set_state(PgWireConnectionState::QueryInProgress);
        counted(self.execute(client, &portal, usize::try_from(message.max_rows).unwrap_or(0))).await?;
        client.set_state(PgWireConnectionState::ReadyForQuery);
        Ok(())
    }

    async fn on_sync<C>(&self, client: &mut C, _: PgSync) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        client.portal_store().rm_portal(DEFAULT_NAME);
        self.portals.remove(DEFAULT_NAME);
        let status = client.transaction_status();
        client.send(PgWireBackendMessage::ReadyForQuery(ReadyForQuery::new(status))).await?;
        Ok(())
    }

    async fn on_close<C>(&self, client: &mut C, message: Close) -> PgWireResult<()>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let name = message.name.as_deref().unwrap_or(DEFAULT_NAME);
        match message.target_type {
            TARGET_TYPE_BYTE_STATEMENT => {
                client.portal_store().rm_statement(name);
                self.statements.remove(name);
            }
            TARGET_TYPE_BYTE_PORTAL => {
                client.portal_store().rm_portal(name);
                self.portals.remove(name);
            }
            other => return Err(PgWireError::InvalidTargetType(other)),
        }
        client.feed(PgWireBackendMessage::CloseComplete(CloseComplete::new())).await?;
        Ok(())
    }

    async fn do_query<C>(&self, client: &mut C, portal: &Portal<Held>, _: usize) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Held>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        Ok(self.reply(client, portal).await?.into())
    }
}

impl Service {
    /// Describes a text's one statement, whose client told these types of parameters; `None` when it has none.
    async fn prepare<C: Client>(
        &self,
        client: &mut C,
        sql: &str,
        told: &[Option<Type>],
    ) -> PgWireResult<Option<Prepared>> {
        let mut commands = self.parse(sql).await?;
        let Some(command) = commands.pop() else { return Ok(None) };
        if !commands.is_empty() {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(user(error("42601", message)));
        }
        self.check_transaction(client, &command)?;
        let mut prepared = Prepared::bare(sql);
        match command {
            Command::Query(statement) => {
                let plan = self.described(statement, &mut prepared, told).await?;
                prepared.schema = Some(Arc::clone(plan.schema().inner()));
                prepared.keep(plan);
            }
            Command::Declare { query, .. } => {
                let plan = self.described(query, &mut prepared, told).await?;
                prepared.keep(plan);
            }
            Command::Fetch { cursor, .. } => {
                prepared.schema = self.cursors.find(&cursor).map(|cursor| Arc::clone(cursor.schema()));
            }
            Command::Show(name) => {
                let name = name.map(|name| self.settings.show(&name)).transpose().map_err(user)?;
                let columns = name.map_or(vec!["name", "setting"], |(name, _)| vec![name]);
                prepared.schema = Some(crate::rows::texts_schema(&columns));
            }
            _ => {}
        }
        Ok(Some(prepared))
    }

    fn columns(
        &self,
        client: &impl ClientInfo,
        prepared: &Prepared,
        format: &Format,
    ) -> PgWireResult<Vec<FieldInfo>> {
        match &prepared.schema {
            Some(schema) => Ok(self.fields(client, schema, format)?.to_vec()),
            None => Ok(Vec::new()),
        }
    }

    /// Runs a portal's statement.
    async fn reply<C: Client>(&self, client: &mut C, portal: &Portal<Held>) -> PgWireResult<Reply>
    where
        C::PortalStore: PortalStore,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let prepared = &portal.statement.statement;
        let Some(command) = self.parse(&prepared.sql).await?.pop() else {
            return Err(user(error(state::INTERNAL, "a prepared statement is gone")));
        };
        self.check_transaction(client, &command)?;
        let values = bound(portal, &prepared.parameters)?;
        let asked = Asked {
            sql: &prepared.sql,
            format: &portal.result_column_format,
            prepared: Some(prepared),
            parameters: Some(&values),
        };
        self.run(client, command, asked).await
    }

    /// Sends a portal's next rows, at most `rows_max` of them; 0: all. They are made as they are sent.
    async fn execute<C: Client>(
        &self,
        client: &mut C,
        portal: &Portal<Held>,
        rows_max: usize,
    ) -> PgWireResult<()>
    where
        C::PortalStore: PortalStore,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let at = portal.state();
        let mut at = at.lock().await;
        if matches!(*at, PortalExecutionState::Initial) {
            match self.reply(client, portal).await? {
                Reply::Rows(rows) => *at = PortalExecutionState::Suspended(rows),
                Reply::Done(tag) => {
                    *at = PortalExecutionState::Finished;
                    return complete(client, Tag::new(tag)).await;
                }
            }
        }
        let PortalExecutionState::Suspended(response) = at.deref_mut() else {
            return complete(client, Tag::new("SELECT").with_rows(0)).await;
        };
        let tag = response.command_tag().to_owned();
        let sent = match send_rows(client, response, rows_max).await {
            Ok(Sent::UpTo) => {
                client.feed(PgWireBackendMessage::PortalSuspended(PortalSuspended::new())).await?;
                return Ok(());
            }
            Ok(Sent::All(rows)) => Ok(rows),
            Err(failure) => Err(failure),
        };
        *at = PortalExecutionState::Finished;
        complete(client, Tag::new(&tag).with_rows(sent?)).await
    }
}

enum Sent {
    /// There may be more.
    UpTo,
    All(usize),
}

async fn send_rows<C: Client>(
    client: &mut C,
    response: &mut QueryResponse,
    rows_max: usize,
) -> PgWireResult<Sent>
where
    PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
{
    let mut rows = 0;
    while rows_max == 0 || rows < rows_max {
        let Some(row) = response.data_rows().next().await else { return Ok(Sent::All(rows)) };
        client.feed(PgWireBackendMessage::DataRow(row?)).await?;
        rows += 1;
    }
    Ok(Sent::UpTo)
}

/// Whether a bind message has a value for each parameter, and no format for what there is not.
fn check_counts(message: &Bind, parameters: usize, columns: usize) -> PgWireResult<()> {
    let violation = |text: String| Err(user(error(state::PROTOCOL_VIOLATION, text)));
    if message.parameters.len() != parameters {
        let given = message.parameters.len();
        return violation(format!(
            "bind message supplies {given} parameters, but the prepared statement requires {parameters}"
        ));
    }
    let fits = |codes: usize, count: usize| codes <= 1 || codes == count;
    let given = message.parameter_format_codes.len();
    if !fits(given, parameters) {
        return violation(format!("bind message has {given} parameter formats but {parameters} parameters"));
    }
    let given = message.result_column_format_codes.len();
    if !fits(given, columns) {
        return violation(format!(
            "bind message has {given} result formats but the query has {columns} columns"
        ));
    }
    Ok(())
}

/// The library asks for a parser; every place that would use it is answered above.
pub(crate) struct Unused;

#[async_trait]
impl QueryParser for Unused {
    type Statement = Held;

    async fn parse_sql<C>(&self, _: &C, _: &str, _: &[Option<Type>]) -> PgWireResult<Option<Held>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        Err(user(error(state::INTERNAL, "statements are not parsed here")))
    }

    fn get_parameter_types(&self, statement: &Held) -> PgWireResult<Vec<Type>> {
        Ok(statement.parameters.iter().map(|parameter| parameter.wire_type.clone()).collect())
    }

    fn get_result_schema(&self, statement: &Held, format: Option<&Format>) -> PgWireResult<Vec<FieldInfo>> {
        let Some(schema) = &statement.schema else { return Ok(Vec::new()) };
        let format = format.unwrap_or(&Format::UnifiedText);
        Ok(crate::rows::fields(schema, format, &Arc::default())?.to_vec())
    }
}
