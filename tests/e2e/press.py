"""A press of each kind with the client that openapi-python-client made of the document; prints what came of it."""

from __future__ import annotations

import json
import sys

from rita_data_sources_client import AuthenticatedClient
from rita_data_sources_client.api.connections import data_sources_change, data_sources_configure, data_sources_seed
from rita_data_sources_client.api.operations import operations_verify
from rita_data_sources_client.models import (
    ConfigureBody,
    ConfigureBodyConfig,
    DataSourcesConfigureConnectionIdType1,
    VerifyBody,
    VerifyBodySettings,
)

url, token, config = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token)

seeded = data_sources_seed.sync(client=client)
configured = data_sources_configure.sync(
    DataSourcesConfigureConnectionIdType1.CONFLUENCE,
    client=client,
    body=ConfigureBody(config=ConfigureBodyConfig.from_dict(json.loads(config))),
)
changed = data_sources_change.sync(configured.data.id, client=client, body=ConfigureBody(name="Wiki"))
verifying = operations_verify.sync(
    changed.data.id,
    client=client,
    body=VerifyBody(
        credentials={"api_token": "a-token", "email": "ada@example.org", "url": "https://acme.example.org"},
        settings=VerifyBodySettings.from_dict({"spaces": "ENG"}),
    ),
)
answers = {"seeded": seeded, "configured": configured, "changed": changed, "verifying": verifying}
sys.stdout.write(json.dumps({name: answer.to_dict() for name, answer in answers.items()}))
