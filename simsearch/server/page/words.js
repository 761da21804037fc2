// What the page says, in both languages; {name} stands for a value.
const WORDS = {
  en: {
    other: "中文", theme: "Light / dark", views: "Views", skip: "To the content",
    search: "Search", compare: "Compare", benchmark: "Benchmark",
    query: "Query", queryHint: "A sentence, a question, some words", mode: "Compare by",
    dense: "meaning (vectors)", lexical: "words (BM25)", hybrid: "both",
    hits: "Hits", rerank: "Check word order", filter: "Filter (JSON)",
    first: "First text", second: "Second text",
    facts: "{count} documents · {model} · {pooling}",
    none: "Nothing was found.", found: "{count} hits in {ms} ms",
    working: "One moment …", badFilter: "The filter is not JSON: {why}",
    higher: "higher than {percent} % of random pairs",
    truncated: "longer than the model reads: its end was not compared",
    sameWords: "Same words, other order: it probably means something else ({percent} % sure that it is the same).",
    sameWordsSame: "Same words, and probably the same meaning.",
    why: "Which words matched?", unwhy: "Hide the words", matchesOf: "Each token of the query, and the nearest of the hit",
    token1: "query", token2: "nearest", cosine: "cosine",
    underPoolings: "Cosine under each pooling", pooling: "Pooling", tokens: "Token by token (cosine of the last layer's vectors)",
    blind: "static_mean knows no word order at all: it is the cosine of the two bags of words.",
    model: "Model",
    noReport: "There is no report here. Make one with simsearch benchmark --out DIR and start the server with --report DIR.",
    tokenTitle: "This server asks for a token", token: "Token for reading", ok: "OK",
    failed: "The server cannot be reached.",
  },
  zh: {
    other: "English", theme: "浅色／深色", views: "视图", skip: "跳到正文",
    search: "搜索", compare: "比较", benchmark: "评测",
    query: "查询", queryHint: "一句话、一个问题或几个词", mode: "比较依据",
    dense: "语义（向量）", lexical: "词（BM25）", hybrid: "两者",
    hits: "条数", rerank: "检查词序", filter: "过滤（JSON）",
    first: "第一句", second: "第二句",
    facts: "{count} 篇文档 · {model} · {pooling}",
    none: "没有找到。", found: "{count} 条，{ms} 毫秒",
    working: "请稍候……", badFilter: "过滤条件不是 JSON：{why}",
    higher: "高于 {percent}% 的随机句对",
    truncated: "超过模型长度：结尾没有参与比较",
    sameWords: "词相同、顺序不同：意思多半不一样（认为相同的把握 {percent}%）。",
    sameWordsSame: "词相同，意思多半也相同。",
    why: "哪些词对上了？", unwhy: "收起", matchesOf: "查询的每个 token，以及结果里与它最近的",
    token1: "查询", token2: "最近的", cosine: "余弦",
    underPoolings: "各种池化下的余弦", pooling: "池化", tokens: "逐个 token（末层向量的余弦）",
    blind: "static_mean 完全不看词序：它只是两个词袋的余弦。",
    model: "模型",
    noReport: "这里没有报告。先运行 simsearch benchmark --out DIR，再用 --report DIR 启动服务。",
    tokenTitle: "这个服务需要令牌", token: "读令牌", ok: "确定",
    failed: "连不上服务器。",
  },
};

const preferred = () => localStorage.getItem("language") ?? navigator.language;
let language = preferred().toLowerCase().startsWith("zh") ? "zh" : "en";

export const say = (key, values = {}) =>
  WORDS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

// Write every fixed text of the page in the language of now.
export function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  for (const node of document.querySelectorAll("[data-hint]")) node.placeholder = say(node.dataset.hint);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
}

export function otherLanguage() {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
}

export const number = (value) => new Intl.NumberFormat(language === "zh" ? "zh-CN" : "en").format(value);
