"""Settings of image operations that are not about one image: files, credentials, limits.

``None`` everywhere means "what the system's configuration files say".
"""

from __future__ import annotations

import msgspec

from trilby.oci.descriptor import Platform

DEFAULT_PARALLEL = 6


class ImageContext(msgspec.Struct, frozen=True, kw_only=True):
    """One caller's settings; immutable, so that it can be shared by concurrent operations.

    Change a field with :meth:`with_changes`.
    """

    #: auth.json to use and write instead of the search order (like REGISTRY_AUTH_FILE).
    auth_file: str | None = None
    #: User and password that win over every file; ("", "") means: be anonymous.
    credentials: tuple[str, str] | None = None
    #: OAuth2 refresh token in place of a password.
    identity_token: str = ""
    #: Bearer token sent as it is, with no token exchange.
    registry_token: str = ""

    #: None: as registries.conf says; False also allows plain HTTP.
    tls_verify: bool | None = None
    #: Directory of *.crt, *.cert, *.key used for every registry in place of certs.d.
    cert_dir: str | None = None

    registries_conf: str | None = None
    registries_conf_dir: str | None = None
    #: Registries, host or host:port, that are insecure besides those of registries.conf.
    insecure_registries: tuple[str, ...] = ()
    #: registries.d: where signatures are looked up.
    registries_d: str | None = None
    #: "enforcing", "permissive" or "disabled" in place of what registries.conf says.
    short_name_mode: str | None = None
    policy_path: str | None = None
    #: Accept every source without reading a policy file.
    insecure_policy: bool = False

    #: Platform to choose from an index; None: this host's.
    platform: Platform | None = None

    #: How often a failed request is sent again, and the first delay in seconds (then doubled).
    retries: int = 3
    retry_delay: float = 1.0
    #: Blobs copied at the same time.
    parallel: int = DEFAULT_PARALLEL
    #: Directory for large temporary files; None: TMPDIR or /var/tmp.
    temp_dir: str | None = None
    #: Blobs of oci: layouts are kept here and not in the layout.
    shared_blob_dir: str | None = None
    user_agent: str | None = None
    proxy: str | None = None

    def with_changes(self, **changes: object) -> ImageContext:
        """A copy of the settings with these fields changed."""
        return msgspec.structs.replace(self, **changes)
