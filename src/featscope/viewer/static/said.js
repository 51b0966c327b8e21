// What the server says, in the language of the page. The server speaks English, as its command line does.
import { language } from './words.js';

/** What is said in English, and in Chinese; parts in brackets are kept. @type {[RegExp, string][]} */
const CHINESE = [
  [/^mean of the channels$/, '各通道的均值'],
  [/^mean absolute value of the channels$/, '各通道绝对值的均值'],
  [/^largest channel of each cell$/, '每个单元的最大通道值'],
  [/^length of each cell's features \(L2\)$/, '每个单元特征向量的长度（L2）'],
  [/^standard deviation of the channels$/, '各通道的标准差'],
  [/^contrast: distance of each cell's features from the mean cell's$/, '对比度：每个单元的特征与平均单元的距离'],
  [/^first principal component$/, '第一主成分'],
  [/^the channel with the largest sum$/, '总和最大的通道'],
  [/^its only channel$/, '唯一的通道'],
  [/^channel (\d+)$/, '通道 $1'],
  [/^highest class score(.*)$/, '最高类别分数$1'],
  [/^score(.*)$/, '分数$1'],
  [/ after sigmoid/, '（经 sigmoid）'],
  [/ after softmax/, '（经 softmax）'],
  [/, times ([^ ]+)/, '，乘以 $1'],
  [/ \(by the layer's name\)$/, '（根据层名判断）'],
  [
    /^the place of the cells is assumed, so it may be wrong by up to half a cell$/,
    '单元的位置是假定的，误差可能达到半个单元',
  ],
  [/^the axes were not followed through the network$/, '各轴没有在网络中追踪过'],
  [
    /^there is no manifest: that the last two axes are rows and columns is assumed, and so is the place$/,
    '没有清单文件：假定最后两个轴是行和列，位置也是假定的',
  ],
  [/^it is unknown how the image lies in the input$/, '不知道图像在网络输入中的位置'],
  [/^the image does not agree with what the network saw(.*)$/, '图像与网络看到的内容不一致$1'],
  [/^the position of the image in the input could not be verified(.*)$/, '图像在输入中的位置无法验证$1'],
  [/^the image file is gone: (.*)$/, '图像文件不在了：$1'],
  [/^the run has no image of this sample$/, '这次运行没有保存这个样本的图像'],
  [
    /^this sample has no boxes whose cells could be compared with a ring around them$/,
    '这个样本没有框，无法比较框内与周围一圈的单元',
  ],
  [
    /^this folder has no manifest, so layers and samples are named after its files$/,
    '这个文件夹没有清单文件，层和样本按文件命名',
  ],
  [
    /^a report holds channels in 254 steps, and small; featscope view shows them whole$/,
    '报告里的通道图较小，数值只有 254 级；完整的通道请用 featscope view 查看',
  ],
  [/^(.*) has no map of (.*)$/, '$1 没有 $2 的特征图'],
  [/^(.*) is gone; it was there when the viewer started$/, '$1 不在了；查看器启动时它还在'],
  [
    /^this run is still being captured; its misses are listed once it is finished$/,
    '这次运行仍在捕获，完成后才会列出漏检目标',
  ],
  [
    /^(.*) has no ground truth, so nothing is known to be missed; give it: .*$/,
    '$1 没有真值，无法知道漏检了什么；请用 --annotations 提供 annotations.json、DOTA 的 labelTxt 文件夹或 YOLO 标签文件夹',
  ],
  [
    /^(.*) has no detections; capture it with a detector whose boxes featscope knows: (.*) lists them$/,
    '$1 没有检测框；请用 featscope 认识其检测框的检测器捕获（$2 会列出它们）',
  ],
  [
    /^(.*) has no manifest, so it has neither ground truth nor detections$/,
    '$1 没有清单文件，因此既没有真值也没有检测框',
  ],
  [
    /^where the head lost the objects of (\d+) images? \((.*)\) is unknown: their candidates were not stored; capture the run with --candidates$/,
    '不知道检测头在哪里丢失了 $1 幅图像（$2）中的目标：没有保存它们的候选框；请用 --candidates 捕获',
  ],
  [
    /^where the head lost the objects of (\d+) images? \((.*)\) is unknown: /,
    '不知道检测头在哪里丢失了 $1 幅图像（$2）中的目标：',
  ],
  [
    /^the run stores no maps of features, so what they hold is unknown; capture its backbone and neck$/,
    '这次运行没有保存特征图，不知道特征里有什么；请捕获 backbone 和 neck',
  ],
  [/^([a-z+-]+) at (.*) level (\d+)$/, '$1，$2 第 $3 级'],
];

/** @param {string} text */
export function said(text) {
  return language === 'zh' ? CHINESE.reduce((made, [english, chinese]) => made.replace(english, chinese), text) : text;
}

/** An answer with its words in the language of the page. @template T @param {T} answer @returns {T} */
export function inWords(answer) {
  const found = /** @type {any} */ (answer);
  const facts = found?.header ?? found;
  if (language === 'en' || !facts || typeof facts !== 'object') return answer;
  for (const part of [facts, ...(facts.runs ?? []), ...(facts.explanations ?? [])]) {
    if (typeof part.words === 'string') part.words = said(part.words);
    if (Array.isArray(part.notes)) part.notes = part.notes.map(said);
  }
  return answer;
}
