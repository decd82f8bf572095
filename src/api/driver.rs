//! DriverService: tokens of drivers, their groups, and the answers about them.
//!
//! Decides that personal data goes to nobody but who may see it, and that sessions follow what is said of their drivers. Never puts a
//! token into a refusal, a log or a page token.

use super::caller::{heard, named_tenant, taken};
use super::request::{cut, page};
use super::{Answer, Api, answer, stopping};
use crate::access::Caller;
use crate::domain::driver::{MAX_TOKENS_PER_CALL, Personal};
use crate::domain::ids::{GroupId, PersonRef, TenantId};
use crate::domain::rejection::{Faults, Rejection};
use crate::drivers::By;
use crate::drivers::asking::{Outcome, Question};
use crate::drivers::register::Whom;
use crate::engine::Refusal;
use crate::wire::common::{bounded, read, required};
use crate::wire::driver::{
    driver_group, driver_group_message, driver_token, driver_token_message, given_authorisation, token_name,
    token_name_message,
};
use crate::wire::proto;
use crate::wire::status::status;
use std::collections::BTreeSet;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

type Watcher = mpsc::Sender<Result<proto::WatchAuthorizationsResponse, Status>>;

#[tonic::async_trait]
impl proto::driver_service_server::DriverService for Api {
    type WatchAuthorizationsStream = ReceiverStream<Result<proto::WatchAuthorizationsResponse, Status>>;

    async fn put_driver_tokens(
        &self,
        request: Request<proto::PutDriverTokensRequest>,
    ) -> Answer<proto::PutDriverTokensResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.put_tokens(caller, message).await)
    }

    async fn list_driver_tokens(
        &self,
        request: Request<proto::ListDriverTokensRequest>,
    ) -> Answer<proto::ListDriverTokensResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.list_tokens_of_drivers(caller, message).await)
    }

    async fn forget_driver(&self, request: Request<proto::ForgetDriverRequest>) -> Answer<proto::ForgetDriverResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.forget(caller, message).await)
    }

    async fn put_driver_group(
        &self,
        request: Request<proto::PutDriverGroupRequest>,
    ) -> Answer<proto::PutDriverGroupResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.put_group(caller, message).await)
    }

    async fn list_driver_groups(
        &self,
        request: Request<proto::ListDriverGroupsRequest>,
    ) -> Answer<proto::ListDriverGroupsResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.list_groups(caller, message).await)
    }

    async fn remove_driver_group(
        &self,
        request: Request<proto::RemoveDriverGroupRequest>,
    ) -> Answer<proto::RemoveDriverGroupResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.remove_group(caller, message).await)
    }

    async fn watch_authorizations(
        &self,
        request: Request<proto::WatchAuthorizationsRequest>,
    ) -> Answer<Self::WatchAuthorizationsStream> {
        let (caller, message) = taken(request)?;
        let room = self.long_call(&caller)?;
        let tenant = read(|faults| named_tenant(faults, &message.tenant_id)).map_err(Refusal::from);
        let tenant = tenant.and_then(|named| named.of(&caller));
        let tenant = tenant.map_err(|refusal| status(&refusal))?;
        let (waiting, coming) = self.drivers.asking().watch(&tenant);
        let (watcher, questions) = mpsc::channel(1);
        let api = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = api.stopped() => {
                    // Fails where nobody reads any more.
                    let _ = watcher.try_send(Err(stopping()));
                }
                () = watcher.closed() => {}
                () = tell_questions(waiting, coming, &watcher) => {}
            }
            drop(room);
        });
        Ok(Response::new(ReceiverStream::new(questions)))
    }

    async fn answer_authorization(
        &self,
        request: Request<proto::AnswerAuthorizationRequest>,
    ) -> Answer<proto::AnswerAuthorizationResponse> {
        let (caller, message) = heard(&request)?;
        answer(self.answer_question(caller, message).await)
    }
}

/// Ends when nobody reads any more, or too slowly: whoever opens the stream again is told of those that still wait.
async fn tell_questions(
    waiting: Vec<Arc<Question>>,
    mut coming: broadcast::Receiver<Arc<Question>>,
    watcher: &Watcher,
) {
    let told: BTreeSet<Uuid> = waiting.iter().map(|question| question.id).collect();
    for question in &waiting {
        if watcher.send(Ok(question_message(question))).await.is_err() {
            return;
        }
    }
    loop {
        let next = match coming.recv().await {
            Ok(question) if told.contains(&question.id) => continue,
            Ok(question) => Ok(question_message(&question)),
            Err(broadcast::error::RecvError::Lagged(_)) => Err(Status::resource_exhausted(
                "the stream is read too slowly: open it again to be told of what waits",
            )),
            Err(broadcast::error::RecvError::Closed) => return,
        };
        let ends = next.is_err();
        if watcher.send(next).await.is_err() || ends {
            return;
        }
    }
}

fn question_message(question: &Question) -> proto::WatchAuthorizationsResponse {
    proto::WatchAuthorizationsResponse {
        authorization_id: question.id.to_string(),
        token: Some(token_name_message(&question.token)),
        site_id: question.site.site.to_string(),
        evse_id: question.evse.to_string(),
        session_id: question.session.to_string(),
    }
}

fn contract(faults: &mut Faults, text: &str) -> Option<Personal> {
    faults.field("contract_id", Personal::parse("contract_id", text))
}

fn whom(faults: &mut Faults, message: &proto::ForgetDriverRequest) -> Option<Whom> {
    use proto::forget_driver_request::Driver;
    match required(faults, "driver", message.driver.as_ref(), "a token or a contract_id")? {
        Driver::Token(name) => faults.part("token", token_name(name)).map(Whom::Token),
        Driver::ContractId(id) => contract(faults, id).map(Whom::Contract),
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

impl Api {
    async fn put_tokens(
        &self,
        caller: &Caller,
        message: &proto::PutDriverTokensRequest,
    ) -> Result<proto::PutDriverTokensResponse, Refusal> {
        let now = self.clock.now();
        let (tenant, tokens) = read(|faults| {
            let tenant = named_tenant(faults, &message.tenant_id);
            let tokens = bounded(faults, "tokens", &message.tokens, MAX_TOKENS_PER_CALL, |token| {
                driver_token(token, now)
            });
            let allowed = format_args!("1 to {MAX_TOKENS_PER_CALL} tokens").to_string();
            faults.require(!message.tokens.is_empty(), "tokens", "is required", "", &allowed);
            let mut names = BTreeSet::new();
            let named = message.tokens.iter().map(|token| token.name.as_ref());
            for (index, name) in named.enumerate().filter_map(|(index, name)| Some((index, name?))) {
                faults.require(
                    names.insert((name.r#type, name.uid.to_ascii_lowercase())),
                    format!("tokens[{index}].name"),
                    "names a token of the same call again",
                    "its type and uid",
                    "each token once",
                );
            }
            Some((tenant?, tokens))
        })?;
        let tenant = tenant.of(caller)?;
        let put = self.drivers.put_tokens(&tenant, tokens).await?;
        Ok(proto::PutDriverTokensResponse {
            changed: count(put.changed.len()),
            outdated: count(put.outdated),
        })
    }

    async fn list_tokens_of_drivers(
        &self,
        caller: &Caller,
        message: &proto::ListDriverTokensRequest,
    ) -> Result<proto::ListDriverTokensResponse, Refusal> {
        const LIST: &str = "driver tokens";
        let (tenant, page, contract) = read(|faults| {
            let tenant = named_tenant(faults, &message.tenant_id);
            let page = page(faults, LIST, message.page.as_ref(), PersonRef::parse);
            let contract = match message.contract_id.as_str() {
                "" => Some(None),
                id => contract(faults, id).map(Some),
            };
            Some((tenant?, page?, contract?))
        })?;
        let tenant = tenant.of(caller)?;
        let listed = self
            .drivers
            .tokens(&tenant, contract.as_ref(), page.after.as_ref(), page.size + 1)
            .await?;
        let items = listed
            .into_iter()
            .map(|(person, token)| (person.to_string(), driver_token_message(&token)));
        let (tokens, next_page_token) = cut(LIST, items, page.size, self.limits.max_response_bytes);
        Ok(proto::ListDriverTokensResponse {
            tokens,
            next_page_token,
        })
    }

    async fn forget(
        &self,
        caller: &Caller,
        message: &proto::ForgetDriverRequest,
    ) -> Result<proto::ForgetDriverResponse, Refusal> {
        let (tenant, whom) = read(|faults| {
            let tenant = named_tenant(faults, &message.tenant_id);
            let whom = whom(faults, message);
            Some((tenant?, whom?))
        })?;
        let tenant = tenant.of(caller)?;
        let forgotten = self.drivers.forget(&tenant, whom, &self.by(caller)).await?;
        Ok(proto::ForgetDriverResponse {
            forgotten: count(forgotten),
        })
    }

    async fn put_group(
        &self,
        caller: &Caller,
        message: &proto::PutDriverGroupRequest,
    ) -> Result<proto::PutDriverGroupResponse, Refusal> {
        let (tenant, group) = read(|faults| {
            let tenant = named_tenant(faults, &message.tenant_id);
            let group = required(faults, "group", message.group.as_ref(), "a group");
            let group = group.and_then(|group| faults.part("group", driver_group(group)));
            Some((tenant?, group?))
        })?;
        let tenant = tenant.of(caller)?;
        self.drivers.put_group(&tenant, group, &self.by(caller)).await?;
        Ok(proto::PutDriverGroupResponse {})
    }

    async fn list_groups(
        &self,
        caller: &Caller,
        message: &proto::ListDriverGroupsRequest,
    ) -> Result<proto::ListDriverGroupsResponse, Refusal> {
        const LIST: &str = "driver groups";
        let (tenant, page) = read(|faults| {
            let tenant = named_tenant(faults, &message.tenant_id);
            let page = page(faults, LIST, message.page.as_ref(), GroupId::parse);
            Some((tenant?, page?))
        })?;
        let tenant = tenant.of(caller)?;
        let listed = self.drivers.groups(&tenant, page.after.as_ref(), page.size + 1).await?;
        let items = listed
            .iter()
            .map(|group| (group.id.to_string(), driver_group_message(group)));
        let (groups, next_page_token) = cut(LIST, items, page.size, self.limits.max_response_bytes);
        Ok(proto::ListDriverGroupsResponse {
            groups,
            next_page_token,
        })
    }

    async fn remove_group(
        &self,
        caller: &Caller,
        message: &proto::RemoveDriverGroupRequest,
    ) -> Result<proto::RemoveDriverGroupResponse, Refusal> {
        let (tenant, id) = read(|faults| {
            let tenant = named_tenant(faults, &message.tenant_id);
            let id = faults.field("group_id", GroupId::parse(&message.group_id));
            Some((tenant?, id?))
        })?;
        let tenant = tenant.of(caller)?;
        let was_there = self.drivers.remove_group(&tenant, &id, &self.by(caller)).await?;
        Ok(proto::RemoveDriverGroupResponse { was_there })
    }

    async fn answer_question(
        &self,
        caller: &Caller,
        message: &proto::AnswerAuthorizationRequest,
    ) -> Result<proto::AnswerAuthorizationResponse, Refusal> {
        let (tenant, id, given) = read(|faults| {
            let tenant = named_tenant(faults, &message.tenant_id);
            let wrong = || {
                Rejection::one(
                    "",
                    "is not an id of a question",
                    &message.authorization_id,
                    "as it was told",
                )
            };
            let id = Uuid::parse_str(&message.authorization_id).map_err(|_| wrong());
            let id = faults.field("authorization_id", id);
            let given = faults.field("authorization", given_authorisation(message.authorization));
            Some((tenant?, id?, given?))
        })?;
        let tenant: TenantId = tenant.of(caller)?;
        let counted = match self.drivers.asking().answer(&tenant, id, given).await {
            Outcome::Counts => true,
            Outcome::TooLate => false,
            Outcome::Lost => {
                let why = "the answer could not be recorded; the driver is asked about again";
                return Err(Refusal::Unavailable(why.to_owned()));
            }
        };
        Ok(proto::AnswerAuthorizationResponse { counted })
    }

    fn by(&self, caller: &Caller) -> By {
        By {
            token: caller.token().cloned(),
            at: self.clock.now(),
        }
    }
}
