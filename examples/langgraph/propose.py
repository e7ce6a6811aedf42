"""A LangGraph graph that runs a step of Countersign through MCP, and waits for the people who sign.

    propose.py STEP PARAMS REASON        for example: propose.py service:restart '{"name": "web"}' "p99 is high"

The environment names the boundary and the token of the agent: COUNTERSIGN_URL and COUNTERSIGN_TOKEN_FILE. COUNTERSIGN
names the program, if it is not in PATH. The other variables of NAMES are for the check that this user has no key of an
approver. Needs `pip install langgraph langchain-mcp-adapters`.

The node `decide` is where your model decides which step to propose. Here it takes the step from the command line.
"""

import asyncio
import json
import os
import sys
from typing import TypedDict

from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.graph import END, START, StateGraph


# A client of MCP starts the program with few variables, so name all that the program needs.
NAMES = ["COUNTERSIGN_URL", "COUNTERSIGN_TOKEN_FILE", "COUNTERSIGN_KEY", "HOME", "SSH_AUTH_SOCK", "XDG_CONFIG_HOME"]


class State(TypedDict, total=False):
    wish: dict
    proposal: dict


class Problem(Exception):
    """A tool could not do what it was asked for."""

    def __init__(self, problem):
        super().__init__(f"{problem['code']}: {problem['detail']} ({problem['advice']})")
        self.code = problem["code"]


def answer(result):
    """Returns the JSON document of a tool's answer: its only content is one text."""
    document = json.loads(result if isinstance(result, str) else result[0]["text"])
    if "problem" in document:
        raise Problem(document["problem"])
    return document


async def main(step, params, reason):
    client = MultiServerMCPClient({
        "countersign": {
            "transport": "stdio",
            "command": os.environ.get("COUNTERSIGN", "countersign"),
            "args": ["mcp"],
            "env": {name: os.environ[name] for name in NAMES if name in os.environ},
        }
    })
    tools = {tool.name: tool for tool in await client.get_tools()}

    async def decide(state: State):
        known = answer(await tools["get_step"].ainvoke({"step": step}))
        return {"wish": {"step": known["step"], "params": json.loads(params), "reason": reason}}

    async def propose(state: State):
        return {"proposal": answer(await tools["propose"].ainvoke(state["wish"]))}

    async def wait(state: State):
        try:
            return {"proposal": answer(await tools["wait"].ainvoke({"id": state["proposal"]["id"], "wait_s": 40}))}
        except Problem as problem:
            # The proposal still waits at the boundary, so the graph waits too.
            if problem.code not in {"unreachable", "busy", "standby", "database", "rate-limited"}:
                raise
            print(problem, file=sys.stderr)
            await asyncio.sleep(5)
            return {"proposal": state["proposal"]}

    def over(state: State):
        # The end of the waiting time is no refusal: the graph waits again until people have decided.
        return END if state["proposal"]["ended"] else "wait"

    graph = StateGraph(State)
    for node in [decide, propose, wait]:
        graph.add_node(node.__name__, node)
    graph.add_edge(START, "decide")
    graph.add_edge("decide", "propose")
    graph.add_edge("propose", "wait")
    graph.add_conditional_edges("wait", over)
    state = await graph.compile().ainvoke({}, {"recursion_limit": 1000})
    print(json.dumps(state["proposal"]))


try:
    asyncio.run(main(*sys.argv[1:]))
except Problem as problem:
    sys.exit(f"propose.py: {problem}")
