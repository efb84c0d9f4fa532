//! What comes from inside: the mail of a connection.

use edge::mailbox::Mail;
use edge::receiver::Left;
use mqtt_codec::ReasonCode;

use super::Connection;
use super::end::End;

impl Connection {
    /// Deals with all mail, even when some of it ends the connection: the cursors must not pass over what was not taken.
    pub(super) async fn take_mail(&mut self) -> Result<(), End> {
        let mut mail = std::mem::take(&mut self.mail);
        let mut end = Ok(());
        for one in mail.drain(..) {
            let left = self.receiver.mail(one);
            match self.left(left).await {
                Err(reason) if end.is_ok() => {
                    end = Err(reason);
                    self.receiver.stop();
                }
                _ => {}
            }
        }
        // A busy connection keeps its vector, a quiet one does not.
        if mail.capacity() <= 64 {
            self.mail = mail;
        }
        end
    }

    async fn left(&mut self, left: Left) -> Result<(), End> {
        match left {
            Left::Attached(token, boundaries) => Box::pin(self.attached(token, &boundaries)).await,
            Left::Mail(Mail::Retained(found, granted)) => {
                found
                    .into_iter()
                    .for_each(|delivery| self.receiver.retained(delivery, granted));
            }
            Left::Mail(Mail::Settled { token, outcome }) => return self.settled(token, outcome),
            Left::Mail(Mail::TakenOver(done)) => {
                self.handover.push(done);
                return Err(End::TakenOver);
            }
            Left::Mail(Mail::Refused(refusal)) => {
                let code = refusal.kind.code();
                return Err(End::ours(code, ReasonCode::NotAuthorized, refusal.detail));
            }
            Left::Mail(Mail::Leave) => {
                let detail = "this server is cut off from the rest; connect again";
                return Err(End::ours("server-draining", ReasonCode::ServerBusy, detail));
            }
            Left::Nothing | Left::Mail(_) => {}
        }
        Ok(())
    }

    pub(super) fn take_last_mail(&mut self) {
        for mail in std::mem::take(&mut self.mail) {
            match self.receiver.mail(mail) {
                Left::Mail(Mail::Settled { token, outcome }) => self.publishing.outbox.settle(token, outcome),
                Left::Mail(Mail::TakenOver(done)) => self.handover.push(done),
                _ => {}
            }
        }
    }
}
