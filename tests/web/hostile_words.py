"""Texts that mean harm, for every place where somebody else's text is shown. The canary has to stay unset."""

HOSTILE = [
    "<script>window.canary=1</script>",
    "\"><img src=x onerror=window.canary=2>",
    "'><svg/onload=window.canary=3>",
    "</title></textarea></pre></script><script>window.canary=4</script>",
    "{{ 7*7 }}{% raw %}${7*7}<%= 7*7 %>#{7*7}",
    "\x1b[31mred\x1b]0;title\x07\x1b]8;;javascript:window.canary=5\x07link\x1b]8;;\x07\x9b1m",
    "abc\u202egpj.exe\u2066hidden\u2069\u200f",
    "javascript:window.canary=6//data:text/html,<script>window.canary=6</script>",
    "<a href=\"javascript:window.canary=7\" hx-get=\"/x\" hx-trigger=\"load\" hx-on:load=\"window.canary=7\">x</a>",
    "<template><script>window.canary=8</script></template><base href=https://evil.example/>",
    "<meta http-equiv=refresh content=\"0;url=https://evil.example\">",
    "<iframe srcdoc=\"<script>parent.canary=9</script>\">",
    "' onfocus=window.canary=10 autofocus x='",
    "\u2028window.canary=11\u2029\ufeff",
    "<math><mi//xlink:href=\"data:x,<script>window.canary=12</script>\">",
    "line one\r\nSet-Cookie: evil=1\r\n\r\n<script>window.canary=13</script>",
    "../../etc/passwd%00%2e%2e/" + "\N{PILE OF POO}" * 20,
    "&lt;script&gt;window.canary=14&lt;/script&gt;&#60;script&#62;",
    "<script>window.canary=15</script>" + "A" * 30_000,
]  # fmt: skip
