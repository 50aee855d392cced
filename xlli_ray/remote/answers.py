"""What the errors of an object store mean: may the call succeed later, and what should the user do?"""

from __future__ import annotations

import errno
import re

from xlli_ray.errors import EnvironmentFailure

_ADVICE = (
    (("NoSuchBucket", "bucket does not exist", "BucketNotFound", "ContainerNotFound"),
     "There is no such bucket there: check its name, the region (AWS_REGION) and the server (AWS_ENDPOINT_URL)"),
    (("InvalidAccessKeyId",), "The server does not know this access key: check AWS_ACCESS_KEY_ID (and AWS_ENDPOINT_URL)"),
    (("SignatureDoesNotMatch",), "The secret does not fit the key: check AWS_SECRET_ACCESS_KEY (and AWS_REGION)"),
    (("RequestTimeTooSkewed",), "The clock of this machine and the server's differ by too much: set the clock"),
    (("ExpiredToken", "TokenRefreshRequired", "InvalidToken", "token included in the request is expired"),
     "The session token is no longer valid: get new credentials (AWS_SESSION_TOKEN)"),
    (("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraint", "TemporaryRedirect",
      "incorrectly configured region"),
     "The bucket is in another region, or another server's: set AWS_REGION (and AWS_ENDPOINT_URL)"),
    (("NotImplemented",),
     "This store lacks a call: studies need conditional puts (If-None-Match: *); if it only lacks deletion in bulk, set "
     "AWS_DISABLE_BULK_DELETE=true"),
    (("URL scheme is not allowed", "BadScheme"), "The server was addressed by plain http: set AWS_ALLOW_HTTP=true if that is intended"),
    (("no credentials", "locate credentials", "missing credential", "169.254.169.254"),
     "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the variables of your cloud), or AWS_SKIP_SIGNATURE=true for a public bucket"),
)  # fmt: skip
_OTHERWISE = {
    "http": "Check the address and the network",
    "https": "Check the address and the network",
    "gs": "Check the network, GOOGLE_APPLICATION_CREDENTIALS and this account's rights",
    "az": "Check the network, AZURE_STORAGE_ACCOUNT_NAME and this account's rights",
}
_SERVER = "Check the network, the server (AWS_ENDPOINT_URL, AWS_REGION) and this key's rights"

_PASSING_STATUS = re.compile(r"status code: (5\d\d|408|409|429)\b")
_NEVER_PASSING = ("BadScheme", "169.254.169.254")
_PASSING = (
    "error sending request", "body error", "error decoding", "timed out", "connection", "list response", "RequestTimeout",
    "IncompleteMessage", "NoSuchUpload",
)  # fmt: skip
"""NoSuchUpload: an upload in parts whose completion was answered, but not heard, is put again."""
_XML = re.compile(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)
_CAUSE = re.compile(r'message: "([^"]+)"|error: "([^"]+)"|(TimedOut)')


class Missing(KeyError):
    """No object has this key."""


class Denied(EnvironmentFailure):
    """The store refuses this object to this key, without saying that the credentials are wrong."""


def bucket_advice(text: str) -> str:
    """Advice on an error of an object store (`text`: its code and message), '' if it is not about configuration."""
    return next((advice for words, advice in _ADVICE if any(word.lower() in text.lower() for word in words)), "")


def failure_of(url: str, error: Exception, closing: str) -> EnvironmentFailure:
    """Meaning of an object store's error when `url` was used, with advice; `passing` if the same call may succeed later. `closing`: the
    end of the message."""
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    text = str(error)
    answer = _XML.search(text)
    causes = [next(filter(None, match.groups())) for match in _CAUSE.finditer(text)]
    what = f"{answer[1]}: {answer[2]}" if answer else ", ".join([first_line(error), *causes[:1]])
    advice = bucket_advice(code_of(error) or text)
    refused = isinstance(error, PermissionDeniedError | UnauthenticatedError) and not advice
    otherwise = _OTHERWISE.get(url.partition("://")[0], _SERVER)
    failure = (Denied if refused else EnvironmentFailure)(errno.EIO, f"{url}: {what.rstrip('.')}. {advice or otherwise}{closing}")
    passing = _PASSING_STATUS.search(text) or any(word in text for word in _PASSING)
    failure.passing = bool(passing) and not any(word in text for word in _NEVER_PASSING) and not (answer and advice)
    return failure


def first_line(error: BaseException) -> str:
    """First line of an error's text, without obstore's debugging details."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def code_of(error: BaseException) -> str:
    """The code of an S3 response, such as NoSuchBucket; '' if the error has none."""
    match = _XML.search(str(error))
    return match[1] if match else ""
