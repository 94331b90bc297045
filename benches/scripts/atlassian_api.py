"""Adds accounts to a group of Confluence Cloud with atlassian-python-api. It has no call for that, so its raw post is used.

usage: atlassian_api.py BASE GROUP_ID FILE     (FILE: an account id a line)
"""
import json
import sys
import time

from atlassian.rest_client import AtlassianRestAPI

base, group_id, file = sys.argv[1:]
with open(file) as lines:
    accounts = lines.read().split()
confluence = AtlassianRestAPI(url=f"{base}/wiki", username="script@example.com", password="token", cloud=True)

begun = time.perf_counter()
for account in accounts:
    confluence.post(
        "rest/api/group/userByGroupId",
        params={"groupId": group_id},
        data={"accountId": account},
        headers={"Content-Type": "application/json", "Accept": "application/json", "X-Atlassian-Token": "no-check"},
    )
print(json.dumps({"seconds": time.perf_counter() - begun}))
