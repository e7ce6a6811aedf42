"""A LangGraph graph that runs a step of Countersign through MCP, and waits for the people who sign.

    propose.py STEP PARAMS REASON        for example: propose.py service:restart '{"name": "web"}' "p99 is high"

The environment names the boundary and the token of the agent: COUNTERSIGN_URL and COUNTERSIGN_TOKEN_FILE. COUNTERSIGN
names the program, if it is not in PATH. Needs `pip install langgraph langchain-mcp-adapters`.

The node `decide` is where your model decides which step to propose. Here it takes the step from the command line.
"""

import asyncio
import json
import os
import sys
from typing import TypedDict

from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    wish: dict
    proposal: dict


def answer(result):
    """Returns the JSON document of a tool's answer: its only content is one text."""
    text = result if isinstance(result, str) else result[0]["text"]
    return json.loads(text)


async def main(step, params, reason):
    names = ["COUNTERSIGN_URL", "COUNTERSIGN_TOKEN_FILE", "HOME"]
    client = MultiServerMCPClient({
        "countersign": {
            "transport": "stdio",
            "command": os.environ.get("COUNTERSIGN", "countersign"),
            "args": ["mcp"],
            "env": {name: os.environ[name] for name in names if name in os.environ},
        }
    })
    tools = {tool.name: tool for tool in await client.get_tools()}

    async def decide(state: State):
        known = answer(await tools["get_step"].ainvoke({"step": step}))
        return {"wish": {"step": known["step"], "params": json.loads(params), "reason": reason}}

    async def propose(state: State):
        return {"proposal": answer(await tools["propose"].ainvoke(state["wish"]))}

    async def wait(state: State):
        return {"proposal": answer(await tools["wait"].ainvoke({"id": state["proposal"]["id"], "wait_s": 40}))}

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


asyncio.run(main(*sys.argv[1:]))
