"""Adds accounts to a group of Confluence Cloud, one call after another: the script that people write.

usage: serial_requests.py BASE GROUP_ID FILE     (FILE: an account id a line)
"""
import json
import sys
import time

import requests

base, group_id, file = sys.argv[1:]
with open(file) as lines:
    accounts = lines.read().split()
# Kept connections: kinder than most scripts are to themselves.
session = requests.Session()
session.auth = ("script@example.com", "token")

begun = time.perf_counter()
for account in accounts:
    answer = session.post(
        f"{base}/wiki/rest/api/group/userByGroupId",
        params={"groupId": group_id},
        json={"accountId": account},
        headers={"X-Atlassian-Token": "no-check"},
    )
    answer.raise_for_status()
print(json.dumps({"seconds": time.perf_counter() - begun}))
