"""Settings of Apache Spark on S3: Hadoop's client by the environment of the other libraries, and Delta's log store."""

from __future__ import annotations

from collections.abc import Mapping

LOG_STORE = "feedloop.ConditionalPutLogStore"  # jvm/feedloop/
LOG_STORE_JAR = "feedloop-s3-log-store.jar"  # requirements/setup.sh and build.gradle.kts make it
LOG_STORE_SETTING = "spark.delta.logStore.s3a.impl"
LOG_STORE_CLASS_SETTING = "spark.delta.logStore.class"  # one for all schemes; Delta refuses both together
_S3A = "spark.hadoop.fs.s3a."
_S3A_CLASS = "org.apache.hadoop.fs.s3a.S3AFileSystem"
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_PROVIDERS = "aws.credentials.provider"
_BY_TOKEN_FILE = ",".join(  # Hadoop's own list, which leaves out the file that Kubernetes mounts
    (
        "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider",
        "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "software.amazon.awssdk.auth.credentials.EnvironmentVariableCredentialsProvider",
        "software.amazon.awssdk.auth.credentials.WebIdentityTokenFileCredentialsProvider",
    )
)


def client_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings of a new session by which s3:// and s3a:// use the store that AWS_* name for delta-rs, Sail and obstore.

    They contain no keys or session tokens: Spark takes those from the environment itself, so that no command line
    shows them.
    """
    found = {"spark.hadoop.fs.s3.impl": _S3A_CLASS, "spark.hadoop.fs.s3n.impl": _S3A_CLASS}
    if region := environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION"):
        found[_S3A + "endpoint.region"] = region
    if endpoint := next((environment[name] for name in _ENDPOINTS if environment.get(name)), None):
        found[_S3A + "endpoint"] = endpoint
        found[_S3A + "path.style.access"] = str(not _is_true(environment, "AWS_VIRTUAL_HOSTED_STYLE_REQUEST")).lower()
        found[_S3A + "connection.ssl.enabled"] = str(not _is_true(environment, "AWS_ALLOW_HTTP")).lower()
    if _is_true(environment, "AWS_SKIP_SIGNATURE"):
        found[_S3A + _PROVIDERS] = "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider"
    elif environment.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
        found[_S3A + _PROVIDERS] = _BY_TOKEN_FILE
    return found


def log_store_settings() -> dict[str, str]:
    """Settings of a new session that has our log store's class: commits to s3://, s3a:// and s3n:// go through it."""
    return {LOG_STORE_SETTING.replace("s3a", scheme): LOG_STORE for scheme in ("s3", "s3a", "s3n")}


def _is_true(environment: Mapping[str, str], name: str) -> bool:
    return environment.get(name, "").lower() in ("1", "true", "yes", "on")
