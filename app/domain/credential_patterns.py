"""The kinds of credentials that can be told by their looks: what their issuers begin them with.

To add a kind, write one line here and one example in tests/unit/domain/test_credential_detection.py. Why there is no
library behind it: docs/decisions/0032. Every repetition is bounded, for a text may be as long as a whole configuration.
"""

from __future__ import annotations

import re

# Issuers name the letters that their tokens begin with so that leaks can be found; upper and lower case matter.
_TOKEN_PATTERNS_BY_ISSUER = {
    "Atlassian": r"AT(?:ATT|CTT|STT)3x[\w=-]{10}|ATBB\w{20}",
    "Notion": r"(?:ntn|secret)_[A-Za-z0-9]{30}",
    "Slack": r"(?:xox[a-z]|xapp|xwfp)-[\w-]{10}|hooks\.slack\.com/(?:services|workflows|triggers)/\w{5}",
    "GitHub": r"gh[pousr]_[A-Za-z0-9]{20}|github_pat_\w{20}",
    "GitLab": r"gl(?:pat|oas|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|ffct)-[\w-]{20}|GR1348941[\w-]{20}",
    "OpenAI, Anthropic": r"sk-(?:proj|svcacct|admin|ant|or|lf)-[\w-]{20}|sk-(?=[A-Za-z]{0,19}\d)[A-Za-z0-9]{20}",
    "services of language models and of search": (
        r"gsk_\w{20}|xai-\w{20}|pplx-\w{20}|tvly-[\w-]{16}|hf_[A-Za-z]{30}|r8_\w{30}|fc-[0-9a-f]{32}|BSA\w{24}(?!\w)"
    ),
    "Stripe": r"[rs]k_(?:live|test)_\w{16}",
    "Standard Webhooks": r"whsec_[\w+/]{20}",
    "Amazon": r"A(?:KIA|SIA)[A-Z0-9]{16}(?!\w)",
    "Google": r"AIza[\w-]{35}|ya29\.[\w-]{20}|GOCSPX-[\w-]{20}|1//0[\w-]{30}",
    "Microsoft": r"\w{3}\dQ~[\w~.-]{30}|AccountKey=[\w+/]{20}|SharedAccessKey=[\w+/]{20}",
    "Okta": r"SSWS\s{1,9}[\w-]{20}",
    "HashiCorp": r"hv[sbr]\.[\w-]{20}|\w{14}\.atlasv1\.[\w=-]{20}",
    "Grafana": r"gl(?:sa|c)_\w{20}",
    "package registries": r"npm_[A-Za-z0-9]{30}|pypi-AgE[\w-]{20}|dckr_(?:pat|oat)_[\w-]{20}|rubygems_[0-9a-f]{40}",
    "SendGrid": r"SG\.[\w-]{16,64}\.[\w-]{16}",
    "Mailchimp, Mailgun": r"[0-9a-f]{32}-us\d{1,2}(?!\w)|key-[0-9a-z]{32}(?!\w)",
    "Twilio": r"SK[0-9a-f]{32}(?!\w)",
    "Telegram": r"(?:bot)?\d{8,10}:AA[\w-]{30}",
    "Discord": r"[MNO][\w-]{23,27}\.[\w-]{6}\.[\w-]{27}",
    "HubSpot, Airtable": r"pat-(?:na|eu|ap)\d-[0-9a-f-]{20}|pat\w{14}\.[0-9a-f]{40}",
    "Shopify": r"shp(?:at|ca|pa|ss)_[0-9a-fA-F]{30}",
    "Linear, Figma, Postman": r"lin_(?:api|oauth)_\w{20}|figd_[\w-]{20}|PMAK-[0-9a-f]{20}",
    "Doppler": r"dp\.(?:pt|st|ct)\.\w{20}",
    "Databricks, DigitalOcean, New Relic": r"dapi[0-9a-f]{32}|do[opr]_v1_[0-9a-f]{40}|NRAK-[A-Z0-9]{20}",
    "Salesforce": r"00D\w{12,15}![\w.]{20}",
    "a JSON Web Token": r"eyJ[\w-]{8,500}\.[\w-]{8}",
    "age": r"AGE-SECRET-KEY-1\w{20}",
    "addresses that let in whoever knows them": (
        r"webhook\.office\.com/webhookb2/\w{8}|discord(?:app)?\.com/api/webhooks/\d{8}|hooks\.zapier\.com/hooks/catch/\d"
    ),
    "Sentry, Supabase, PlanetScale": r"sntry[su]_\w{20}|sbp_[0-9a-f]{40}|pscale_(?:tkn|oauth|pw)_[\w.-]{20}",
    "Square, PayPal": r"sq0(?:atp|csp)-[\w-]{20}|access_token\$(?:production|sandbox)\$\w{10}",
    "a password's hash": r"\$2[abxy]\$\d\d\$[\w./]{20}|\$argon2(?:id|i|d)\$v=\d",
}
# What is written out, in any case.
_WRITTEN_CREDENTIAL_PATTERN = (
    r"-----BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY"
    r"|PuTTY-User-Key-File-\d"
    r"|\bbearer\s{1,9}[A-Za-z0-9+/_.~-]{16}"
    r"|\bauthorization[\"']?\s{0,9}[:=]\s{0,9}[\"']?[\w-]{2,30}\s{1,9}(?=\S{0,99}\d)\S{8}"
    # A password, or a name that can be nothing else, before the host of an address.
    r"|\b[a-z][a-z0-9+.-]{0,30}://[^/\s:@]{0,256}:[^/\s@]{1,256}@"
    r"|\b[a-z][a-z0-9+.-]{0,30}://(?=[a-z_-]{0,99}\d)[\w-]{20,256}@"
    r"|[?&](?:sig|signature|x-amz-signature|x-goog-signature)=[\w%+/-]{16}"
    r"|\bcurl\b[^\n]{0,400}\s(?:-u|--user)[\s=]{0,3}[^\s:]{1,99}:\S"
)
CREDENTIAL_PATTERN = re.compile(
    rf"(?<![A-Za-z0-9])(?:{'|'.join(_TOKEN_PATTERNS_BY_ISSUER.values())})|(?i:{_WRITTEN_CREDENTIAL_PATTERN})",
    re.ASCII,
)
