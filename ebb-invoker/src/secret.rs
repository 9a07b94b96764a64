//! HTTPS for the front end (`--tls`): its certificate is made at the first start and kept with everything else, until the
//! administrator gives another by `PUT /admin/certificate`.
//!
//! What must hold: whatever is kept can be read; a certificate that cannot is refused, and what was there goes on.

use alloc::string::String;
use alloc::{format, vec};

use ebb::net::http::{Request, Response};
use ebb::{EbbRef, ebb, time};
use ebb_tls::http::HTTP_1_1;
use ebb_tls::{Acceptor, Certificates, Error, Identity, ServerSettings, Source, self_signed};
use once_cell::race::OnceBox;

use crate::books::Books;
use crate::convert::{refusal, with_head};

/// What a chain of certificates with its key takes at most.
const MOST: usize = 64 << 10;
/// What a certificate is for that is made.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// The certificates of this machine's front end.
#[ebb(shared)]
#[derive(Default)]
struct Secret(OnceBox<Certificates>);

/// The certificate that is kept, or one that is made now and kept where anything is.
///
/// # Errors
/// A text that says what is wrong with it, or with the disk.
pub async fn open() -> Result<(Source, Acceptor), String> {
    let said = |error: Error| format!("TLS cannot be spoken: {error}");
    let keeper = EbbRef::<Books>::get().keeper();
    let kept = match keeper {
        Some(keeper) => keeper.certificate().await?,
        None => None,
    };
    let source = match kept {
        Some(text) => Source::of_text(text.as_bytes(), "as before"),
        None => {
            let made = self_signed(&NAMES, time::unix_time()).map_err(said)?;
            if let Some(keeper) = keeper {
                keeper.keep_certificate(&made.pem).await?;
            }
            Source::of_text(made.pem.as_bytes(), "made now, for localhost")
        }
    };
    let source = source.map_err(said)?;
    let certificates = source.certificates().clone();
    let mut settings = ServerSettings::new(certificates.clone());
    settings.alpn = vec![HTTP_1_1.to_vec()];
    let acceptor = Acceptor::new(settings).map_err(said)?;
    let _ = EbbRef::<Secret>::get().0.set(certificates.into());
    Ok((source, acceptor))
}

/// `PUT /admin/certificate`: PEM, chains each with its key behind it.
pub async fn exchange(request: &mut Request<'_>) -> Response {
    let books = EbbRef::<Books>::get();
    let is_admin = with_head(request, &[], None, |asked| {
        books.controller(|c| c.authenticate_admin(asked))
    });
    if let Err(failure) = is_admin {
        return refusal(failure.status, &failure.text);
    }
    if request.method() != "PUT" {
        return refusal(405, "HTTP method not allowed, supported methods: PUT");
    }
    let secret = EbbRef::<Secret>::get();
    let Some(certificates) = secret.0.get() else {
        return refusal(409, "There is no TLS here; --tls speaks it.");
    };
    let text = match request.bytes_up_to(MOST).await {
        Ok(text) => text,
        Err(error) => return refusal(error.status().unwrap_or(400), &format!("{error}")),
    };
    let identities = match Identity::all_from_pem(&text) {
        Ok(identities) => identities,
        Err(error) => return refusal(400, &format!("{error}")),
    };
    if let (Some(keeper), Ok(text)) = (books.keeper(), str::from_utf8(&text))
        && let Err(why) = keeper.keep_certificate(text).await
    {
        return refusal(503, &why);
    }
    certificates.replace(identities);
    Response::new(204)
}
