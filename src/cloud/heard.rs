//! What is to be made of an answer that is neither a success nor a passing failure.

use http::{HeaderMap, StatusCode};
use url::Url;

use super::call::{Call, SeatSign};
use super::client::Client;
use super::credential::Shown;
use super::diagnosis::{self, Diagnosis, Suspect, Symptom};
use super::{Credential, Operation, Owner};
use crate::settings::CredentialKind;

/// Answers that were not believed once, of one question.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    /// A 403 or 404 to a read.
    pub forgiven: bool,
    /// The sign that no seat is free.
    pub seat_sign: bool,
    /// The credential does not open this site at all.
    pub is_elsewhere: bool,
}

/// What is to be made of an answer that is neither a success nor a passing failure.
pub(super) enum Heard {
    /// It is one.
    Answer,
    /// The credential is refused: what that means.
    Refused(Diagnosis),
    /// Cloud is somewhere else.
    Elsewhere(String),
    /// It is not believed at once.
    Doubted,
}

impl Client {
    /// What is to be made of an answer that is neither a success nor a passing failure.
    pub(super) fn heard(
        &self,
        call: &Call,
        whose: Option<(&Credential, &Shown)>,
        status: StatusCode,
        headers: &HeaderMap,
        message: &str,
        doubts: &mut Doubts,
    ) -> Heard {
        let operation = call.operation;
        match status.as_u16() {
            401 => self.refusal(operation, status, message, whose),
            // Under load a gateway was seen to answer one 403 or 404 out of nothing.
            403 if doubts.forgiven => self.refusal(operation, status, message, whose),
            // What is there at every site is not there: this is none, or none that the credential opens.
            404 if doubts.is_elsewhere || (doubts.forgiven && operation.is_everywhere()) => {
                self.refusal(operation, status, message, whose)
            }
            404 if doubts.forgiven || operation.is_write() => {
                self.note(operation, "4xx", None);
                Heard::Answer
            }
            403 | 404 => {
                doubts.forgiven = true;
                Heard::Doubted
            }
            500 if doubts.seat_sign || call.seat_sign == SeatSign::Believed => {
                self.note(operation, "5xx", None);
                Heard::Answer
            }
            500 => {
                doubts.seat_sign = true;
                Heard::Doubted
            }
            300..=399 => {
                let to = headers
                    .get(http::header::LOCATION)
                    .and_then(|to| to.to_str().ok())
                    .unwrap_or("?");
                let host = Url::parse(to).ok().and_then(|to| to.host_str().map(str::to_owned));
                let to = host.unwrap_or_else(|| "another path".to_owned());
                let setting = operation.service().address();
                let fault = format!("it redirects to {to}, which is not followed; check {setting}");
                self.note(operation, "3xx", Some(fault.clone()));
                Heard::Elsewhere(fault)
            }
            _ => {
                self.note(operation, "4xx", None);
                Heard::Answer
            }
        }
    }

    /// A refusal, or for a caller whose own credential it is a fault that is none of theirs.
    fn refusal(
        &self,
        operation: Operation,
        status: StatusCode,
        message: &str,
        whose: Option<(&Credential, &Shown)>,
    ) -> Heard {
        let diagnosis = self.refused(operation, status, message, whose);
        if Self::is_of_the_setup(&diagnosis, whose) {
            tracing::error!(%diagnosis, "callers cannot be served");
            return Heard::Elsewhere(diagnosis.to_string());
        }
        Heard::Refused(diagnosis)
    }

    /// A fault of the set-up, whoever's credential it is that meets it.
    fn is_of_the_setup(diagnosis: &Diagnosis, whose: Option<(&Credential, &Shown)>) -> bool {
        whose.is_some_and(|(credential, _)| credential.owner() == Owner::Caller)
            && matches!(diagnosis.symptom, Symptom::WrongAddress | Symptom::AddressBlocked)
    }

    /// What the operator can do about a refused credential.
    fn refused(
        &self,
        operation: Operation,
        status: StatusCode,
        message: &str,
        whose: Option<(&Credential, &Shown)>,
    ) -> Diagnosis {
        let suspect = whose.and_then(|(credential, shown)| credential.suspect(shown));
        let nobody = Suspect {
            name: "no credential",
            setting: "none",
            kind: CredentialKind::default(),
            look: None,
        };
        let suspect = suspect.unwrap_or(nobody);
        let diagnosis = diagnosis::diagnose(suspect, operation, status, message);
        // A caller's wrong token says nothing against Cloud, and nothing that an operator could mend.
        let ours = whose.is_none_or(|(credential, _)| credential.owner() == Owner::Facade);
        self.note(operation, "refused", ours.then(|| diagnosis.to_string()));
        if ours {
            self.metrics
                .credential_refused(suspect.setting, diagnosis.symptom.as_str());
        }
        diagnosis
    }
}
